package view

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// bench is a leader in isolation: a view, standings and joins, without other processes.
type bench struct {
	t *testing.T
	*Leader
	view ring.View
	time time.Duration
}

func newBench(t *testing.T, names ...string) *bench {
	g := newGroup(t, "a", strings.Join(names, " "))
	b := &bench{t: t, view: g.now().view}
	b.Leader = newLeader(t.Context(), LeaderConfig{
		Self: "a", Agreement: g.elect("a"), Peers: g, Clock: func() time.Duration { return b.time },
		Spawn: func(func()) bool { return false }, Log: slog.New(slog.DiscardHandler),
	}, 1)
	for _, m := range b.members {
		m.assumed, m.epoch = false, b.view.Epoch
	}
	return b
}

// vote makes these processes the voters.
func (b *bench) vote(ids string) { b.agree.(*proc).g.seats = seatsOf(ids) }

// called sets the members whose own calls reach a member, as it claims.
func (b *bench) called(name, callers string) {
	st := b.member(name)
	st.callers = map[ring.Identity]bool{}
	for c := range strings.FieldsSeq(callers) {
		st.callers[b.identity(c)] = true
	}
}

func (b *bench) identity(name string) ring.Identity {
	b.t.Helper()
	m, ok := b.view.FindID(name)
	if !ok {
		b.t.Fatalf("no member %s", name)
	}
	return m.Identity
}

func (b *bench) member(name string) *standing {
	b.t.Helper()
	m, ok := b.view.FindID(name)
	if !ok {
		b.t.Fatalf("no member %s", name)
	}
	return b.members[m.Identity]
}

// asks makes a process ask to join that has reached the named members.
func (b *bench) asks(at time.Duration, id, name string, counter uint64, reached ...string) {
	j := joining{member: ring.Member{Identity: ring.Identity{ID: id, Counter: counter, Nonce: 9}, Name: name, Peer: "p", Release: release.Oldest}, reached: map[ring.Identity]bool{}, at: at}
	for _, r := range reached {
		m, _ := b.view.FindID(r)
		j.reached[m.Identity] = true
	}
	b.joins[id] = j
}

// want checks the next draft: its reasons and its members.
func (b *bench) want(now time.Duration, why, view string) draft {
	b.t.Helper()
	b.keepStandings(now, b.view)
	d := b.draft(now, b.view)
	if got := d.why(); got != why {
		b.t.Errorf("at %v a view is due because %q, want %q", now, got, why)
	}
	d.view.Epoch = 1
	if _, got, _ := strings.Cut(d.view.String(), "["); got != view+"]" {
		b.t.Errorf("at %v the draft is [%s, want [%s]", now, got, view)
	}
	return d
}

const sec = time.Second

// V5: a member is removed when it was not renewed for L stretched.
func TestDraftRemovesTheSilent(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.want(0, "", "a b c")
	b.member("a").renewed, b.member("b").renewed = 2*sec, 2*sec
	b.want(2199*time.Millisecond, "", "a b c")
	b.want(2200*time.Millisecond, "c is silent", "a b")
	if b.member("c").stopped {
		t.Error("a draft stopped the renewals of a member though nothing was proposed")
	}
}

// V3: while a member is late nobody joins; later one view makes the removal and the join.
func TestDraftWaitsForTheLate(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.member("a").renewed, b.member("b").renewed = sec, sec
	b.asks(sec, "d", "d", 1, "a", "b")
	b.want(1100*time.Millisecond, "", "a b c")
	b.member("a").renewed, b.member("b").renewed = 2*sec, 2*sec
	b.asks(2200*time.Millisecond, "d", "d", 1, "a", "b")
	b.want(2200*time.Millisecond, "c is silent, d joins", "a b d")
}

// V3: a joiner must have reached every member that stays.
func TestDraftAdmits(t *testing.T) {
	b := newBench(t, "a", "b")
	b.asks(0, "c", "c", 1, "a")
	b.want(0, "", "a b")
	b.asks(0, "c", "c", 1, "a", "b")
	b.asks(0, "e", "e", 1, "a", "b")
	b.asks(0, "d", "d", 1, "a", "b")
	b.want(0, "c joins, d joins, e joins", "a b c d e")
	b.want(3*sec, "a is silent, b is silent", "") // the joiners have stopped asking
}

// No two members have the same name, even if they join at the same time.
func TestDraftKeepsNamesApart(t *testing.T) {
	b := newBench(t, "a")
	b.asks(0, "x", "same", 1, "a")
	b.asks(0, "y", "same", 1, "a")
	b.asks(0, "z", "a", 1, "a")
	b.want(0, "same joins", "a same")
}

// V3, V5: a later start replaces a member, but not before the member's lease is over; until then
// the member is not renewed.
func TestDraftReplaces(t *testing.T) {
	b := newBench(t, "a", "b")
	b.member("a").renewed, b.member("b").renewed = sec, sec
	b.asks(sec, "b", "b", 2, "a")
	b.want(sec, "", "a b")
	if !b.member("b").replaced {
		t.Error("the earlier start is still renewed")
	}
	b.asks(3*sec, "b", "b", 2, "a")
	b.member("a").renewed = 3 * sec
	b.want(3200*time.Millisecond, "b has restarted", "a b")
	// Only an earlier start is replaced.
	b = newBench(t, "a", "b")
	b.asks(0, "b", "b", 1, "a")
	b.want(0, "", "a b")
	if b.member("b").replaced {
		t.Error("a member is replaced by its equal")
	}
}

// Schedule 15d: all members were killed and are back. The new starts do not wait for answers of the
// dead ones.
func TestDraftAfterAllRestarted(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	for now := 100 * time.Millisecond; now < 2200*time.Millisecond; now += 100 * time.Millisecond {
		for _, id := range []string{"a", "b", "c"} {
			b.asks(now, id, id, 2)
		}
		b.want(now, "", "a b c")
	}
	d := b.want(2200*time.Millisecond, "3 members have restarted", "a b c")
	for _, m := range d.view.Members {
		if m.Counter != 2 {
			t.Errorf("%v is in the draft, want its later start", m.Identity)
		}
	}
}

// V7: a member that leaves is marked, unless it is the last on the ring; a member that has left is
// removed at once.
func TestDraftLetsLeave(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	for _, id := range []string{"a", "b", "c"} {
		b.member(id).leaving = true
	}
	b.want(0, "b is leaving, c is leaving", "a b(leaving) c(leaving)")
	b.view.Members[1].Leaving, b.view.Members[2].Leaving = true, true
	b.want(0, "", "a b(leaving) c(leaving)")
	b.member("b").left = true
	b.want(0, "b left", "a c(leaving)")
}

// G2: a new epoch for the same members.
func TestDraftRefreshes(t *testing.T) {
	b := newBench(t, "a", "b")
	b.member("b").refresh = true
	b.want(0, "b needs an epoch", "a b")
}

// When all members are silent and nobody joins there is no view to propose. The members' renewals
// are not stopped then: their next renewals count.
func TestNoRenewalStopsWithoutAProposal(t *testing.T) {
	b := newBench(t, "a", "b")
	b.step = 3 * sec
	b.time = 3 * sec
	b.look(t.Context())
	for id, m := range b.members {
		if m.stopped {
			t.Errorf("%v is not renewed any more", id)
		}
	}
}

// V5: a leader that was paused starts its waits again.
func TestPausedLeaderWaitsAgain(t *testing.T) {
	b := newBench(t, "a", "b")
	b.time = 10 * sec
	b.look(t.Context())
	b.want(11*sec, "", "a b")
}

// A process that keeps joining and vanishing waits longer each time, up to a limit.
func TestComebacksBackOff(t *testing.T) {
	b := newBench(t, "a")
	var waits []time.Duration
	now := 10 * sec
	for range 4 {
		b.memory.noteRemoval(placeOf(starts("x", 1)), now, lease)
		removed := now
		for {
			b.member("a").renewed = now
			b.asks(now, "x", "x", 2, "a")
			b.keepStandings(now, b.view)
			if d := b.draft(now, b.view); len(d.joining) > 0 {
				break
			}
			now += 100 * time.Millisecond
			if now-removed > time.Hour {
				t.Fatal("never admitted again")
			}
		}
		waits = append(waits, now-removed)
	}
	for i := 1; i < len(waits); i++ {
		if waits[i] <= waits[i-1] && i > 1 {
			t.Errorf("waits are %v, want each longer than the one before", waits)
		}
	}
	if waits[0] != 0 {
		t.Errorf("the first comeback waits %v, want none", waits[0])
	}
}

// What a joiner says of itself is checked.
func TestJoinChecksTheJoiner(t *testing.T) {
	b := newBench(t, "a")
	for name, m := range map[string]*peerv1.Member{
		"nobody":  nil,
		"no id":   {Identity: &peerv1.Identity{Counter: 1}, Name: "x", Peer: "p"},
		"no name": {Identity: &peerv1.Identity{Id: "x", Counter: 1}, Peer: "p"},
		"no peer": {Identity: &peerv1.Identity{Id: "x", Counter: 1}, Name: "x"},
		"leaving": {Identity: &peerv1.Identity{Id: "x", Counter: 1}, Name: "x", Peer: "p", Leaving: true},
	} {
		if resp := b.Join(&peerv1.JoinRequest{Member: m}); resp.GetOutcome() != peerv1.JoinResponse_OUTCOME_WAIT || len(b.joins) > 0 {
			t.Errorf("%s: %v, %d joins", name, resp.GetOutcome(), len(b.joins))
		}
	}
	taken := &peerv1.Member{Identity: &peerv1.Identity{Id: "x", Counter: 1}, Name: "a", Peer: "p", Release: release.Oldest}
	if resp := b.Join(&peerv1.JoinRequest{Member: taken, OldestRelease: release.Oldest}); resp.GetOutcome() != peerv1.JoinResponse_OUTCOME_NAME_TAKEN {
		t.Errorf("a live member's name: %v", resp)
	}
	double := &peerv1.Member{Identity: &peerv1.Identity{Id: "a", Counter: 1, Nonce: 1}, Name: "a", Peer: "p", Release: release.Oldest}
	if resp := b.Join(&peerv1.JoinRequest{Member: double, OldestRelease: release.Oldest}); resp.GetOutcome() != peerv1.JoinResponse_OUTCOME_ID_TAKEN {
		t.Errorf("a live member's id: %v", resp)
	}
}

// A request to join that is older than a lease is void: it does not keep out another start of the
// process, and it is forgotten.
func TestOldJoinIsVoid(t *testing.T) {
	b := newBench(t, "a")
	b.asks(0, "x", "x", 7, "a")
	b.time = lease
	if resp := b.Join(&peerv1.JoinRequest{Member: ringproto.EncodeMember(starts("x", 3))}); resp.GetWhy() != "a later start of this process is joining" {
		t.Errorf("an earlier start is told %q while the later one asks", resp.GetWhy())
	}
	b.time += time.Millisecond
	if resp := b.Join(&peerv1.JoinRequest{Member: ringproto.EncodeMember(starts("x", 3))}); resp.GetWhy() != "waiting for the next view" {
		t.Errorf("when the later start has not asked for a lease, the earlier one is told %q", resp.GetWhy())
	}
	for id := range 100 {
		b.asks(b.time, fmt.Sprint("y", id), "y", 1, "a")
	}
	b.keepStandings(b.time+lease, b.view)
	if n := len(b.joins); n != 101 {
		t.Errorf("%d requests are kept within a lease, want 101", n)
	}
	b.keepStandings(b.time+lease+1, b.view)
	if n := len(b.joins); n != 0 {
		t.Errorf("%d requests are kept after a lease, want none", n)
	}
}

// The records of processes that keep joining and vanishing do not grow without bound.
func TestComebacksAreForgotten(t *testing.T) {
	var m Memory
	for n := range 100 {
		m.noteRemoval(place{id: fmt.Sprint(n)}, time.Duration(n)*sec, lease)
	}
	if m.noteMembers(forgetAfter, nil); len(m.comebacks) != 100 {
		t.Errorf("%d are remembered, want all", len(m.comebacks))
	}
	if m.noteMembers(forgetAfter+100*sec, nil); len(m.comebacks) != 0 {
		t.Errorf("%d are remembered, want none", len(m.comebacks))
	}
}

// A process with a copied data directory keeps joining and vanishing at an address of its own; that
// does not keep out the original. A process whose address is new each time is kept out (V3).
func TestComebacksOfACopy(t *testing.T) {
	at := func(peer string) ring.Member {
		m := starts("x", 1)
		m.Peer = peer
		return m
	}
	var m Memory
	now := sec
	goes := func(peer string) {
		m.noteRemoval(placeOf(at(peer)), now, lease)
		now += m.backOffLeft(placeOf(at(peer)), now, lease)
		m.noteMembers(now, []ring.Member{at(peer)})
		now += sec
	}
	goes("original:1")
	for range 8 {
		goes("copy:1")
	}
	m.noteRemoval(placeOf(at("copy:1")), now, lease)
	if left := m.backOffLeft(placeOf(at("copy:1")), now, lease); left != 64*lease {
		t.Errorf("the copy is kept out for %v, want %v", left, 64*lease)
	}
	if left := m.backOffLeft(placeOf(at("original:1")), now, lease); left != 0 {
		t.Errorf("the original is kept out for %v", left)
	}
	m = Memory{}
	for i := range 8 {
		goes(fmt.Sprint("moves:", i))
	}
	m.noteRemoval(placeOf(at("moves:8")), now, lease)
	if left := m.backOffLeft(placeOf(at("moves:9")), now, lease); left != 64*lease {
		t.Errorf("a process that moves is kept out for %v, want %v", left, 64*lease)
	}
}

// V3: a back-off is forgotten after the process has stayed in for longer than the last
// one, and for a minute, and not before.
func TestComebackStays(t *testing.T) {
	for _, long := range []time.Duration{10 * sec, 129 * sec} {
		var m Memory
		x := placeOf(starts("x", 1))
		now := time.Duration(0)
		for range 12 {
			m.noteRemoval(x, now, lease)
			now += m.comebacks[x].backOff(lease)
			m.noteMembers(now, []ring.Member{starts("x", 1)})
			now += 10 * sec
		}
		if got := m.comebacks[x].backOff(lease); got != 64*lease {
			t.Fatalf("after twelve short stays the back-off is %v, want %v", got, 64*lease)
		}
		now += long - 10*sec
		m.noteRemoval(x, now, lease)
		want := 64 * lease
		if long > 64*lease {
			want = 0
		}
		if got := m.comebacks[x].backOff(lease); got != want {
			t.Errorf("after it has stayed in for %v the back-off is %v, want %v", long, got, want)
		}
	}
}
