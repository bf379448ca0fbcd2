package view

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// W1: the view's release is the lowest of its members, of the seats and of processes that may be
// about to join. An operator may hold it back, and it never falls.
func TestViewRelease(t *testing.T) {
	for _, c := range []struct {
		name  string
		have  uint32 // of the view
		of    [3]uint32
		holds [3]uint32
		seats string
		// gone is the release of a seat that is not in the view, as the history knows it.
		gone   uint32
		nearby []uint32
		want   uint32
	}{
		{name: "all have it", have: 1, of: [3]uint32{3, 3, 3}, seats: "a b c", want: 3},
		{name: "the lowest counts", have: 1, of: [3]uint32{3, 2, 3}, seats: "a b c", want: 2},
		{name: "one is old", have: 1, of: [3]uint32{3, 1, 3}, seats: "a b c", want: 1},
		{name: "no more than the leader's", have: 1, of: [3]uint32{5, 5, 5}, seats: "a b c", want: 3},
		{name: "one operator holds it", have: 1, of: [3]uint32{3, 3, 3}, holds: [3]uint32{0, 2, 0}, seats: "a b c", want: 2},
		{name: "held above all", have: 1, of: [3]uint32{3, 3, 3}, holds: [3]uint32{9, 9, 9}, seats: "a b c", want: 3},
		{name: "never falls", have: 3, of: [3]uint32{3, 2, 3}, seats: "a b c", want: 3},
		{name: "never falls for a hold", have: 3, of: [3]uint32{3, 3, 3}, holds: [3]uint32{1, 1, 1}, seats: "a b c", want: 3},
		{name: "a seat is away with the older program", have: 1, of: [3]uint32{3, 3, 3}, seats: "a b z", gone: 1, want: 1},
		{name: "a seat is away with the newer program", have: 1, of: [3]uint32{3, 3, 3}, seats: "a b z", gone: 3, want: 3},
		{name: "a seat that gets the log only", have: 1, of: [3]uint32{3, 3, 3}, seats: "a b c z*", gone: 1, want: 1},
		{name: "a seat of which nothing is known", have: 1, of: [3]uint32{3, 3, 3}, seats: "a b y", want: 1},
		{name: "a promised process is on its way", have: 1, of: [3]uint32{3, 3, 3}, seats: "a b c", nearby: []uint32{3, 1}, want: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, "a", "b", "c")
			b.program.Newest = 3
			b.nearby = func() []uint32 { return c.nearby }
			g := b.agree.(*proc).g
			g.seats = seatsOf(c.seats)
			if c.gone > 0 {
				f := b.agree.(*proc).fsm
				old := f.now.View().Clone()
				old.Members = append(old.Members, ring.Member{Identity: ring.Identity{ID: "z", Counter: 1}, Name: "z", Release: c.gone})
				f.now.History = f.now.History.Append(old).Append(f.now.View())
			}
			v := b.view.Clone()
			v.Release = c.have
			for i := range v.Members {
				v.Members[i].Release, v.Members[i].Hold = c.of[i], c.holds[i]
			}
			d := b.draft(0, v)
			if d.view.Release != c.want || d.rises != (c.want > c.have) {
				t.Errorf("the next view has release %d, rises %t; want %d", d.view.Release, d.rises, c.want)
			}
			if rises := strings.Contains(d.why(), "the release rises"); rises != d.rises {
				t.Errorf("the draft is made because %q", d.why())
			}
		})
	}
}

// The leader logs once why the release does not rise, and whose seat holds it back.
func TestSaysWhatHoldsTheReleaseBack(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.program.Newest = 2
	var out bytes.Buffer
	b.log = slog.New(slog.NewTextHandler(&out, nil))
	v := b.view.Clone()
	v.Members = v.Members[:2] // c is absent
	for i := range v.Members {
		v.Members[i].Release = 2
	}
	b.agree.(*proc).g.seats = seatsOf("a b c")
	for range 3 {
		b.draft(0, v)
	}
	if n := strings.Count(out.String(), "the absent seat of c"); n != 1 {
		t.Errorf("%d lines name the seat:\n%s", n, &out)
	}
}

// W1: a process that joins with the same view counts.
func TestJoinerHoldsTheReleaseBack(t *testing.T) {
	b := newBench(t, "a", "b")
	b.program.Newest = 2
	v := b.view.Clone()
	for i := range v.Members {
		v.Members[i].Release = 2
	}
	b.asks(0, "c", "c", 1, "a", "b") // of release 1
	if d := b.draft(0, v); len(d.joining) != 1 || d.view.Release != 1 {
		t.Errorf("the next view has release %d and %d joiners, want 1 and 1", d.view.Release, len(d.joining))
	}
}

// W2: a process that cannot work in the view is refused, and the leader logs that once.
func TestRefusedForItsRelease(t *testing.T) {
	b := newBench(t, "a", "b")
	var out bytes.Buffer
	b.log = slog.New(slog.NewTextHandler(&out, nil))
	for _, c := range []struct {
		name           string
		oldest, newest uint32
		refused        bool
	}{
		{"old", 0, 0, true}, // from before release 1
		{"new", release.Oldest + 1, release.Oldest + 2, true},
		{"same", release.Oldest, release.Oldest, false},
		{"newer", release.Oldest, release.Oldest + 1, false},
	} {
		who := starts(c.name, 1)
		who.Release = c.newest
		req := &peerv1.JoinRequest{Member: ringproto.EncodeMember(who), OldestRelease: c.oldest}
		for range 2 {
			got := b.Join(req)
			if refused := got.GetOutcome() == peerv1.JoinResponse_OUTCOME_RELEASE; refused != c.refused || refused && !strings.Contains(got.GetWhy(), c.name+" is") {
				t.Errorf("%s, releases %d to %d: %v", c.name, c.oldest, c.newest, got)
			}
			if _, asks := b.joins[c.name]; asks == c.refused {
				t.Errorf("%s may join: %t, want %t", c.name, asks, !c.refused)
			}
		}
		if n := strings.Count(out.String(), "name="+c.name+" "); n != 1 && c.refused || n != 0 && !c.refused {
			t.Errorf("the log has %d lines about %s:\n%s", n, c.name, &out)
		}
	}
	b.keepStandings(10*lease, b.view)
	if len(b.turnedAway) != 0 {
		t.Errorf("%d that no longer ask are remembered", len(b.turnedAway))
	}
}

// unknownField is a field that no release knows.
func unknownField(m proto.Message) {
	b := protowire.AppendTag(nil, 2000, protowire.VarintType)
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(b, 1))
}

// W3: a command that this program does not know, or such a field of a command, stops the state
// machine. It applies nothing that follows.
func TestUnknownCommandStops(t *testing.T) {
	next := func(f *fsm) *peerv1.Command { return proposeCommand(f.state().Epoch(), 1, 0, viewOf("a", "b")) }
	for _, c := range []struct {
		name string
		make func(f *fsm) *peerv1.Command
		want error
	}{
		{"a command", func(*fsm) *peerv1.Command { c := &peerv1.Command{}; unknownField(c); return c }, release.ErrUnknown},
		{"a command without anything", func(*fsm) *peerv1.Command { return &peerv1.Command{} }, release.ErrUnknown},
		{"a field of a proposal", func(f *fsm) *peerv1.Command { c := next(f); unknownField(c.GetPropose()); return c }, release.ErrUnknown},
		{"a field of a member", func(f *fsm) *peerv1.Command {
			c := next(f)
			unknownField(c.GetPropose().GetView().GetMembers()[1])
			return c
		}, release.ErrUnknown},
		{"a view of a later release", func(f *fsm) *peerv1.Command {
			c := next(f)
			c.GetPropose().GetView().Release = release.Current + 1
			return c
		}, release.ErrNewer},
	} {
		t.Run(c.name, func(t *testing.T) {
			var told []error
			f := &fsm{changed: make(chan struct{}, 1), unknown: func(err error) { told = append(told, err) }}
			commit(t, f, 1, bornAt(100))
			before := f.state()
			out := commit(t, f, 1, c.make(f))
			if !errors.Is(out.err, c.want) || out.applied {
				t.Errorf("%s: applied %t, error %v, want %v", invariant.SameDecisions, out.applied, out.err, c.want)
			}
			if out = commit(t, f, 1, next(f)); out.err == nil || out.applied || f.state().Epoch() != before.Epoch() {
				t.Errorf("%s: what follows was applied, in epoch %d, error %v", invariant.SameDecisions, f.state().Epoch(), out.err)
			}
			if _, err := f.Snapshot(); err == nil {
				t.Errorf("%s: a snapshot was made after it", invariant.SameDecisions)
			}
			if len(told) != 1 || !errors.Is(told[0], c.want) {
				t.Errorf("told of %v, want %v once", told, c.want)
			}
		})
	}
}

// W1: the state machine never lets the release fall, whatever is proposed.
func TestReleaseNeverFalls(t *testing.T) {
	f := &fsm{changed: make(chan struct{}, 1)}
	commit(t, f, 1, bornAt(100))
	v := viewOf("a", "b")
	v.Release = 0
	if out := commit(t, f, 1, proposeCommand(100, 1, 0, v)); !out.applied || out.state.View().Release != release.Oldest {
		t.Errorf("applied %t, release %d, want %d", out.applied, out.state.View().Release, release.Oldest)
	}
}

// A snapshot of a later release is not damaged, and the error says so.
func TestSnapshotOfALaterRelease(t *testing.T) {
	f := &fsm{changed: make(chan struct{}, 1)}
	commit(t, f, 1, bornAt(10))
	p := &peerv1.Snapshot{Release: release.Current + 1, History: StateToProto(f.state())}
	unknownField(p)
	data, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	store := raft.NewInmemSnapshotStore()
	sink, err := store.Create(1, 1, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write(data); err != nil {
		t.Fatal(err)
	}
	_, r, err := store.Open(sink.ID())
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	g := &fsm{changed: make(chan struct{}, 1), unknown: func(error) { told++ }}
	if err := g.Restore(r); !errors.Is(err, release.ErrNewer) || told != 1 || g.state().Cluster != nil {
		t.Errorf("restored %v, told %d times, error %v", g.state(), told, err)
	}
	if out := commit(t, g, 1, bornAt(20)); out.err == nil || out.applied {
		t.Error("the machine continues after a snapshot that it could not restore")
	}
	unknownField(p.GetHistory())
	p.ProtoReflect().SetUnknown(nil)
	p.Release = release.Current
	if data, err = proto.Marshal(p); err != nil {
		t.Fatal(err)
	}
	if _, err := decodeSnapshot(data, release.Own()); !errors.Is(err, release.ErrUnknown) {
		t.Errorf("a snapshot with an unknown field: %v", err)
	}
}
