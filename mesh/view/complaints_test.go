package view

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// complain makes a member complain of others with a renewal that has just arrived, and not for the
// first time.
func (b *bench) complain(name string, of ...string) {
	st := b.member(name)
	st.renewed = max(st.renewed, insist(lease))
	st.complaints = map[ring.Identity]time.Duration{}
	for _, o := range of {
		m, _ := b.view.FindID(o)
		st.complaints[m.Identity] = 0
	}
}

// chosenNow returns the member to mark, and the voter to hand leadership to instead.
func (b *bench) chosenNow(now time.Duration) (string, string) {
	m, heir := b.choose(now, b.view)
	return m.Name, heir
}

// V6: the member in most broken pairs is chosen, whichever member complains; on a tie, the one that
// joined last.
func TestChoice(t *testing.T) {
	tests := []struct {
		name       string
		complaints map[string][]string
		callers    string // of d, which is a voter
		want       string
		heir       string
	}{
		{"nobody complains", nil, "", "", ""},
		{"a pair: the one that joined last", map[string][]string{"b": {"c"}}, "", "c", ""},
		{"whoever complains", map[string][]string{"c": {"b"}}, "", "c", ""},
		{"both complain: it is one pair", map[string][]string{"c": {"b"}, "b": {"c"}}, "", "c", ""},
		{"the one with most pairs", map[string][]string{"c": {"b"}, "d": {"b"}}, "", "b", ""},
		{"who was paused and complains about everybody", map[string][]string{"b": {"a", "c", "d"}}, "", "b", ""},
		{"the leader itself: a voter that all call leads", map[string][]string{"b": {"a"}, "c": {"a"}}, "a b c", "", "d"},
		{"no voter is called by all: the next one in the order", map[string][]string{"b": {"a"}, "c": {"a"}}, "a b", "c", ""},
		{"a stranger", map[string][]string{"b": {"x"}}, "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, "a", "b", "c", "d")
			b.vote("a d")
			for name, of := range tt.complaints {
				b.complain(name, of...)
			}
			b.called("d", tt.callers)
			if got, heir := b.chosenNow(insist(lease)); got != tt.want || heir != tt.heir {
				t.Errorf("chosen is %q, the heir %q; want %q, %q", got, heir, tt.want, tt.heir)
			}
		})
	}
}

// V6: a leader that is chosen, and whose hand-over failed, chooses the next member.
func TestChoiceAfterAHandOverThatFailed(t *testing.T) {
	b := newBench(t, "a", "b", "c", "d")
	b.vote("a d")
	b.complain("b", "a")
	b.complain("c", "a")
	b.called("d", "a b c")
	b.memory.yielded = handOver{true, insist(lease)}
	if got, heir := b.chosenNow(insist(lease)); got != "c" || heir != "" {
		t.Errorf("chosen is %q, the heir %q; want c, nobody", got, heir)
	}
}

// V6: a choice is made only after every member has renewed in this view since the oldest complaint
// began, and while none has missed two renewals.
func TestChoiceWaits(t *testing.T) {
	newOne := func() *bench {
		b := newBench(t, "a", "b", "c", "d")
		b.complain("b", "c")
		return b
	}
	now := insist(lease)
	for name, late := range map[string]func(st *standing){
		"has not renewed with this leader": func(st *standing) { st.assumed = true },
		"has not renewed in this view":     func(st *standing) { st.epoch-- },
		"has not renewed since":            func(st *standing) { st.renewed = -time.Millisecond },
	} {
		b := newOne()
		late(b.member("d"))
		if got, _ := b.chosenNow(now); got != "" {
			t.Errorf("%s is chosen though d %s", got, name)
		}
	}
	b := newOne()
	now = missed(lease) + time.Millisecond
	for _, name := range []string{"a", "b", "c"} {
		b.member(name).renewed = now
	}
	if got, _ := b.chosenNow(now); got != "" {
		t.Errorf("%s is chosen though d has missed two renewals", got)
	}
	b.member("d").renewed = now
	if got, _ := b.chosenNow(now); got != "c" {
		t.Errorf("%q is chosen, want c", got)
	}
}

// V6a: the pairs of a marked member count as whole, and the last unmarked member is not
// chosen (V7).
func TestChoiceLeavesTheMarkedAlone(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.complain("b", "c")
	b.view.Members[2].Leaving = true
	if got, _ := b.chosenNow(insist(lease)); got != "" {
		t.Errorf("%s is chosen because of a marked member", got)
	}
	b.complain("a", "b")
	if got, _ := b.chosenNow(insist(lease)); got != "b" {
		t.Errorf("%q is chosen, want b", got)
	}
	b.view.Members[1].Leaving = true
	b.complain("a", "a")
	if got, _ := b.chosenNow(insist(lease)); got != "" {
		t.Errorf("the last unmarked member %s is chosen", got)
	}
}

// V6: a member that misses two renewals three times within 10 L while a choice is pending is itself
// chosen. Without a pending choice it is not.
func TestIrregularMemberIsChosen(t *testing.T) {
	for _, waits := range []bool{true, false} {
		b := newBench(t, "a", "b", "c", "d")
		now := time.Duration(0)
		got := ""
		for i := 0; i < 40 && got == ""; i++ {
			now += lease / 5
			for _, name := range []string{"a", "b", "c"} {
				var of []*peerv1.Identity
				if waits && name == "b" {
					of = append(of, ringproto.EncodeIdentity(b.identity("c")))
				}
				b.hear(b.identity(name), &peerv1.RenewRequest{Epoch: b.view.Epoch, Complaints: of}, now)
			}
			if i%4 == 3 {
				b.hear(b.identity("d"), &peerv1.RenewRequest{Epoch: b.view.Epoch}, now)
			}
			if i < 3 {
				continue // all have renewed once
			}
			b.step = now
			if m, _ := b.choose(now, b.view); m.Name != "" {
				got = m.Name
			}
			if got == "c" { // d renewed just now, so that the pair could be chosen
				got = ""
			}
		}
		if want := map[bool]string{true: "d"}[waits]; got != want {
			t.Errorf("a choice is pending %t: chosen is %q after %v, want %q", waits, got, now, want)
		}
	}
}

// V6a: complaints of an older view no longer count.
func TestComplaintsEndWithTheView(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.complain("b", "c")
	b.view.Epoch++
	b.keepStandings(0, b.view)
	for _, name := range []string{"a", "b", "c"} {
		b.hear(b.identity(name), &peerv1.RenewRequest{Epoch: b.view.Epoch}, lease/5)
	}
	b.hear(b.identity("b"), &peerv1.RenewRequest{Epoch: b.view.Epoch - 1, Complaints: []*peerv1.Identity{ringproto.EncodeIdentity(b.identity("c"))}}, lease/5)
	b.hear(b.identity("b"), &peerv1.RenewRequest{Epoch: b.view.Epoch - 1, Complaints: []*peerv1.Identity{ringproto.EncodeIdentity(b.identity("c"))}}, 2*lease/5)
	if got, _ := b.chosenNow(2 * lease / 5); got != "" {
		t.Errorf("%s is chosen because of complaints in an older view", got)
	}
}

// Complaints of a member that does not renew do not count, nor do complaints about it.
func TestTheSilentAreNotChosen(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.complain("b", "c")
	b.member("a").renewed, b.member("b").renewed = sec, sec
	if got, _ := b.chosenNow(sec); got != "" {
		t.Errorf("%s is chosen", got)
	}
}

// A member that was paused and is back may still be in the complaints of members that have not
// renewed since. They do not mean that a pair is broken; otherwise the one that joined last of two
// well-connected members would be removed. A complaint that is repeated counts.
func TestStaleComplaints(t *testing.T) {
	play(t, "l", "l a b", func(t *testing.T, g *group) {
		l := g.elect("l", "l").lead()
		a, b := g.member("a"), g.member("b")
		g.renewing(l, "l", 0)
		victim := func() string {
			leader := l.leader.Load()
			leader.mu.Lock()
			defer leader.mu.Unlock()
			return suspected(leader, g)
		}
		a.renew(l)
		b.renew(l)
		g.pass(lease * 7 / 10)
		b.renew(l, "a") // a was paused
		g.pass(lease * 9 / 10)
		b.renew(l, "a")
		g.pass(lease)
		a.renew(l)
		if got := victim(); got != "" {
			t.Errorf("%s is in a broken pair because of a complaint from when a was paused", got)
		}
		b.renew(l, "a")
		g.pass(lease * 105 / 100)
		if got := victim(); got != "" {
			t.Errorf("%s is in a broken pair, though no complaint was repeated since a is back", got)
		}
		g.pass(lease * 12 / 10)
		a.renew(l)
		b.renew(l, "a")
		if got := victim(); got != "b" {
			t.Errorf("%q is in a broken pair, want b", got)
		}
	})
}

// A member that is back complains of members that it has not heard from yet, perhaps of one only.
// That member must not be marked, even if it joined last. A complaint that is made once, or twice
// at the same time, does not count; made with two renewals in a row, it does.
func TestComplaintsInsist(t *testing.T) {
	play(t, "l", "l a b", func(t *testing.T, g *group) {
		l := g.elect("l", "l").lead()
		a, b := g.member("a"), g.member("b")
		says := func(want, why string, of ...string) {
			t.Helper()
			b.renew(l)
			a.renew(l, of...)
			leader := l.leader.Load()
			leader.mu.Lock()
			defer leader.mu.Unlock()
			if got := suspected(leader, g); got != want {
				t.Errorf("%s: %q is in a broken pair, want %q", why, got, want)
			}
		}
		at := lease / 2
		says("", "nothing yet")
		g.pass(at)
		says("", "a is back, and says it for the first time", "b")
		g.pass(at + lease/40)
		says("", "at once again", "b")
		g.pass(at + lease/20)
		says("", "no more")
		g.pass(at + lease/5)
		says("", "of the first time nothing is left", "b")
		g.pass(at + 2*lease/5)
		b.renew(l)
		g.pass(at + 4*lease/5)
		says("", "a was silent in between", "b")
		g.pass(at + lease)
		says("b", "with the next renewal", "b")
	})
}

// A complaint that a member makes with every renewal counts, even if every second attempt to renew
// fails.
func TestComplaintsThroughLosses(t *testing.T) {
	play(t, "l", "l a b", func(t *testing.T, g *group) {
		l := g.elect("l", "l").lead()
		g.renewing(l, "l b", 0)
		const lossy = lease*9/20 + lease/40
		for at := lossy; at < lease; at += lossy {
			g.member("a").renew(l, "b")
			g.pass(at)
		}
		g.want("l a b*", lossy, lossy+lease/10)
	})
}

// Complaints from before all were paused, and complaints about a member that had not renewed with a
// new leader yet, count only when they are made again.
func TestComplaintsBeginAnew(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	c, _ := b.view.FindID("c")
	says := func(at time.Duration, of ...string) {
		t.Helper()
		var list []*peerv1.Identity
		for _, o := range of {
			m, _ := b.view.FindID(o)
			list = append(list, ringproto.EncodeIdentity(m.Identity))
		}
		m, _ := b.view.FindID("b")
		b.hear(m.Identity, &peerv1.RenewRequest{Epoch: b.view.Epoch, Complaints: list}, at)
	}
	broken := func(at time.Duration) bool {
		list, _ := b.suspects(at, b.view)
		return len(list) > 0
	}
	says(lease/10, "c")
	b.startAgain(lease / 5)
	b.hear(c.Identity, &peerv1.RenewRequest{Epoch: b.view.Epoch}, lease/5)
	if says(lease*3/10, "c"); broken(lease * 3 / 10) {
		t.Error("a complaint from before the pause counts")
	}
	if says(lease/2, "c"); !broken(lease / 2) {
		t.Error("a complaint made twice after the pause does not count")
	}

	b = newBench(t, "a", "b", "c")
	for _, m := range b.members {
		m.assumed = true
	}
	says(lease/20, "c")
	says(lease/4, "c")
	b.hear(c.Identity, &peerv1.RenewRequest{Epoch: b.view.Epoch}, lease*3/10)
	if broken(lease * 3 / 10) {
		t.Error("a complaint about a member that had not renewed yet counts")
	}
	says(lease*9/20, "c")
	if says(lease*6/10, "c"); !broken(lease * 6 / 10) {
		t.Error("a complaint made twice about a member that renews does not count")
	}
}

// suspected returns the first member in the order in which V6 chooses, or "".
func suspected(l *Leader, g *group) string {
	list, _ := l.suspects(g.clock(), g.now().view)
	if len(list) == 0 {
		return ""
	}
	return list[0].member.ID
}

// A member that a new leader only counts as renewed (V5) may be dead. Its complaints do not count
// either, and a leader that complains of it does not hand over because of that.
func TestTheAssumedAreNotChosen(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.member("c").assumed = true
	b.complain("a", "c")
	b.complain("b", "c")
	if got, heir := b.chosenNow(insist(lease)); got != "" || heir != "" {
		t.Errorf("chosen is %q, the heir %q; want nobody", got, heir)
	}
	b.member("a").assumed = true
	b.member("c").assumed = false
	b.complain("b", "a")
	b.complain("c", "a")
	if got, heir := b.chosenNow(insist(lease)); got != "" || heir != "" {
		t.Errorf("chosen is %q, the heir %q; want nobody", got, heir)
	}
}
