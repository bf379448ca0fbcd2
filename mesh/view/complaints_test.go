package view

import (
	"testing"
	"time"

	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// complain lets a member complain of others, with a renewal that has just arrived, not
// for the first time.
func (b *bench) complain(name string, of ...string) {
	st := b.member(name)
	st.renewed = max(st.renewed, insist(lease))
	st.complaints = map[ring.Identity]time.Duration{}
	for _, o := range of {
		m, _ := b.view.FindID(o)
		st.complaints[m.Identity] = 0
	}
}

// evicted are the members that are to go.
func (b *bench) evicted() string {
	names := ""
	for _, m := range b.view.Members {
		if b.members[m.Identity].evicted {
			names += m.Name
		}
	}
	return names
}

// V6: of a broken pair goes the one in most broken pairs, whoever complains; on a
// tie the one that joined last.
func TestEvict(t *testing.T) {
	tests := []struct {
		name       string
		complaints map[string][]string
		want       string
		self       bool
	}{
		{"nobody complains", nil, "", false},
		{"a pair: the one that joined last", map[string][]string{"b": {"c"}}, "c", false},
		{"whoever complains", map[string][]string{"c": {"b"}}, "c", false},
		{"both complain: it is one pair", map[string][]string{"c": {"b"}, "b": {"c"}}, "c", false},
		{"the one with most pairs", map[string][]string{"c": {"b"}, "d": {"b"}}, "b", false},
		{"who was paused and complains about everybody", map[string][]string{"b": {"a", "c", "d"}}, "b", false},
		{"the leader itself", map[string][]string{"b": {"a"}, "c": {"a"}}, "", true},
		{"a stranger", map[string][]string{"b": {"x"}}, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, "a", "b", "c", "d")
			for name, of := range tt.complaints {
				b.complain(name, of...)
			}
			if self := b.evict(0, b.view); self != tt.self || b.evicted() != tt.want {
				t.Errorf("evicted %q, the leader itself %v; want %q, %v", b.evicted(), self, tt.want, tt.self)
			}
		})
	}
}

// V5, V6: who is evicted is renewed no more, goes when its lease is over, and no
// second one is chosen before that.
func TestEvictionWaits(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.complain("b", "c")
	b.evict(0, b.view)
	b.complain("a", "b")
	b.evict(0, b.view)
	if b.evicted() != "c" {
		t.Fatalf("evicted %q, want c alone", b.evicted())
	}
	b.member("a").renewed, b.member("b").renewed = 2*sec, 2*sec
	b.want(2199*time.Millisecond, "", "a b c")
	b.want(2200*time.Millisecond, "c is silent", "a b")
}

// A member that does not renew is no witness: its complaints do not count, nor
// those about it.
func TestTheSilentAreNotEvicted(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.complain("b", "c")
	b.member("a").renewed, b.member("b").renewed = sec, sec
	b.evict(sec, b.view)
	if b.evicted() != "" {
		t.Errorf("evicted %q", b.evicted())
	}
}

// Who was paused and is back is complained of by whoever has not renewed since. That says
// nothing of the pair: of two that are whole again the one that joined last would go. A
// complaint that is said again counts.
func TestStaleComplaints(t *testing.T) {
	play(t, "l", "l a b", func(t *testing.T, g *group) {
		l := g.elect("l", "l").lead()
		a, b := g.member("a"), g.member("b")
		victim := func() string {
			leader := l.leader.Load()
			leader.mu.Lock()
			defer leader.mu.Unlock()
			m, _ := leader.mostBroken(g.clock(), g.now().view, "")
			return m.ID
		}
		a.renew(l)
		b.renew(l)
		g.pass(lease * 7 / 10)
		b.renew(l, "a") // which is paused
		g.pass(lease * 9 / 10)
		b.renew(l, "a")
		g.pass(lease)
		a.renew(l)
		if got := victim(); got != "" {
			t.Errorf("%s is in a broken pair because of what was said while a was paused", got)
		}
		b.renew(l, "a")
		g.pass(lease * 105 / 100)
		if got := victim(); got != "" {
			t.Errorf("%s is in a broken pair, which nobody has said again since a is back", got)
		}
		g.pass(lease * 12 / 10)
		a.renew(l)
		b.renew(l, "a")
		if got := victim(); got != "b" {
			t.Errorf("%q is in a broken pair, want b", got)
		}
	})
}

// Who is back complains of those whom it has not heard yet, and perhaps of one only; that
// this one is the one that joined last must not cost it its place. Said once, or twice at
// once, it does not count; said with two renewals in a row, it does.
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
			if m, _ := leader.mostBroken(g.clock(), g.now().view, ""); m.ID != want {
				t.Errorf("%s: %q is in a broken pair, want %q", why, m.ID, want)
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

// One who says it with every renewal is heard, though each second attempt to renew comes to
// nothing.
func TestComplaintsThroughLosses(t *testing.T) {
	play(t, "l", "l a b", func(t *testing.T, g *group) {
		l := g.elect("l", "l").lead()
		g.renewing(l, "l b", 0)
		const lossy = lease*9/20 + lease/40
		for at := lossy; at < lease; at += lossy {
			g.member("a").renew(l, "b")
			g.pass(at)
		}
		g.want("l a b", 0, lease)
		g.member("a").renew(l, "b")
		g.renewing(l, "a", 0)
		g.pass(2*lossy + limit + lease/5)
		g.want("l a", limit, 2*lossy+limit+lease/10)
	})
}

// What was said before all were paused, or of one that had not renewed with a new leader
// yet, has to be said again.
func TestComplaintsBeginAnew(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	c, _ := b.view.FindID("c")
	says := func(at time.Duration, of ...string) {
		t.Helper()
		var list []*peerv1.Identity
		for _, o := range of {
			m, _ := b.view.FindID(o)
			list = append(list, IdentityToProto(m.Identity))
		}
		m, _ := b.view.FindID("b")
		b.hear(m.Identity, list, at)
	}
	broken := func(at time.Duration) bool {
		_, pairs := b.mostBroken(at, b.view, "")
		return pairs > 0
	}
	says(lease/10, "c")
	b.startAgain(lease / 5)
	b.hear(c.Identity, nil, lease/5)
	if says(lease*3/10, "c"); broken(lease * 3 / 10) {
		t.Error("what was said before the pause counts")
	}
	if says(lease/2, "c"); !broken(lease / 2) {
		t.Error("what was said twice after the pause does not count")
	}

	b = newBench(t, "a", "b", "c")
	for _, m := range b.members {
		m.assumed = true
	}
	says(lease/20, "c")
	says(lease/4, "c")
	b.hear(c.Identity, nil, lease*3/10)
	if broken(lease * 3 / 10) {
		t.Error("what was said of one that had not renewed yet counts")
	}
	says(lease*9/20, "c")
	if says(lease*6/10, "c"); !broken(lease * 6 / 10) {
		t.Error("what was said twice of one that renews does not count")
	}
}

// Whom a new leader only takes to have renewed (V5) may be dead: it is no witness
// either, and a leader that waits for it does not hand over because of that.
func TestTheAssumedAreNotEvicted(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.member("c").assumed = true
	b.complain("a", "c")
	b.complain("b", "c")
	if self := b.evict(0, b.view); self || b.evicted() != "" {
		t.Errorf("evicted %q, the leader itself %v; want nobody", b.evicted(), self)
	}
	b.member("a").assumed = true
	b.member("c").assumed = false
	b.complain("b", "a")
	b.complain("c", "a")
	if self := b.evict(0, b.view); self || b.evicted() != "" {
		t.Errorf("evicted %q, the leader itself %v; want nobody", b.evicted(), self)
	}
}
