package owner

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock"
)

// The heap gives claims in the order in which they are due, however they were
// renewed and taken out in between.
func TestDeadlinesAgainstSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h deadlines
		var live []*claim
		at := rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.IntRange(0, 1000).Draw(t, "at"))
		})
		pick := func(t *rapid.T) *claim {
			if len(live) == 0 {
				t.Skip("empty")
			}
			return rapid.SampledFrom(live).Draw(t, "claim")
		}
		drop := func(c *claim) {
			h.remove(c)
			live = slices.DeleteFunc(live, func(x *claim) bool { return x == c })
		}
		add := func(t *rapid.T) {
			c := &claim{token: 1, deadline: at.Draw(t, "deadline")}
			h.set(c)
			live = append(live, c)
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": add, "add 2": add, "add 3": add,
			"renew": func(t *rapid.T) {
				c := pick(t)
				c.deadline = at.Draw(t, "deadline")
				h.set(c)
			},
			"remove": func(t *rapid.T) { drop(pick(t)) },
			"pop": func(t *rapid.T) {
				c, due := h.first()
				if c == nil {
					t.Skip("empty")
				}
				if due != c.deadline {
					t.Fatalf("due at %v, its deadline is %v", due, c.deadline)
				}
				drop(c)
			},
			"": func(t *rapid.T) {
				if len(h.heap) != len(live) {
					t.Fatalf("%d entries for %d claims", len(h.heap), len(live))
				}
				c, due := h.first()
				for _, x := range live {
					if c == nil || x.deadline < due {
						t.Fatalf("first is due at %v, another at %v", due, x.deadline)
					}
					if h.heap[x.place-1].c != x {
						t.Fatalf("place %d is another claim's", x.place)
					}
				}
			},
		})
	})
}

func TestLeanMapGivesRoomBack(t *testing.T) {
	var l lean[int, int]
	const n = 10 * leanFrom
	for i := range n {
		l.put(i, i)
	}
	for i := range n - 1 {
		l.delete(i)
	}
	if v, ok := l.get(n - 1); !ok || v != n-1 || l.len() != 1 {
		t.Errorf("the last entry is %d %v, length %d", v, ok, l.len())
	}
	if l.most >= leanFrom {
		t.Errorf("room for %d entries is left", l.most)
	}
	l.delete(n)
}

// Finished ids go one by one, and a claim that comes again ends one early.
func TestFinishedIDs(t *testing.T) {
	var f finished
	for i, id := range []string{"a", "b", "c", "a"} {
		f.add("k", id, time.Duration(10+i))
	}
	f.remove("k", "b")
	f.remove("k", "b")
	f.remove("other", "a")
	f.forget(9)
	if !f.has("k", "a") || f.has("k", "b") || !f.has("k", "c") || f.has("other", "a") {
		t.Error("before their time: want a and c")
	}
	// The second add of a made it live longer.
	f.forget(12)
	if !f.has("k", "a") || f.has("k", "c") {
		t.Error("after the time of c: want a")
	}
	// A clock that goes back does not break the order.
	f.add("k", "d", 5)
	if f.newest.until != f.oldest.until {
		t.Errorf("d until %v, before it a until %v", f.newest.until, f.oldest.until)
	}
	f.remove("k", "d")
	f.forget(13)
	if f.oldest != nil || f.newest != nil || f.ids.len() != 0 {
		t.Error("something is left")
	}
}

func TestStretch(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{0: 0, 1: 2, 10: 11, 11: 13, 10 * time.Second: 11 * time.Second} {
		if got := Stretch(d); got != want {
			t.Errorf("Stretch(%d) is %d, want %d", d, got, want)
		}
	}
}

// Every broken invariant has a name: each of these breaks one.
func TestCheckFinds(t *testing.T) {
	for name, breakIt := range map[string]func(m *Machine, k *keyState){
		"counted waiters":        func(m *Machine, _ *keyState) { m.waiters++ },
		"key under a wrong name": func(m *Machine, k *keyState) { k.name = "x" },
		"two exclusive holds":    func(_ *Machine, k *keyState) { k.promote(k.firstWaiter(), 3) },
		"token from nowhere":     func(m *Machine, _ *keyState) { m.last = 1 },
		"held count":             func(_ *Machine, k *keyState) { k.held++ },
		"waiter with a token":    func(_ *Machine, k *keyState) { k.firstWaiter().token = 3 },
		"id twice":               func(_ *Machine, k *keyState) { k.firstWaiter().request = k.holds.first.request },
		"id over":                func(m *Machine, k *keyState) { m.finished.add("k", k.holds.first.request, 1) },
		"no deadline":            func(m *Machine, k *keyState) { m.due.remove(k.holds.first) },
		"late deadline":          func(m *Machine, k *keyState) { k.holds.first.deadline = 0 },
		"heap order": func(m *Machine, k *keyState) {
			m.due.heap[0].at = time.Hour
			k.holds.first.deadline, k.firstWaiter().more.seen = 2*time.Hour, 2*time.Hour
		},
		"fat hold":                func(_ *Machine, k *keyState) { k.holds.first.more = &more{} },
		"settles though attached": func(_ *Machine, k *keyState) { k.firstWaiter().more.settles = time.Hour },
		"broken list":             func(_ *Machine, k *keyState) { k.firstWaiter().prev = k.holds.first },
		"bad TTL":                 func(_ *Machine, k *keyState) { k.holds.first.ttl = 0 },
		"not served":              func(m *Machine, k *keyState) { m.due.remove(k.holds.first); k.remove(k.holds.first) },
		"marked":                  func(m *Machine, k *keyState) { k.crowd.marked = true },
		"unfinished turn":         func(m *Machine, k *keyState) { m.marked = append(m.marked, k) },
		"finished order":          func(m *Machine, _ *keyState) { m.finished.oldest.until = time.Hour },
		"finished map":            func(m *Machine, _ *keyState) { m.finished.ids.delete(m.finished.oldest.id) },
		"active copy":             func(m *Machine, _ *keyState) { m.active = false },
		"too many slots":          func(_ *Machine, k *keyState) { k.slots, k.held = 2, 3 },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlay(t, 10)
			from := Ref{&listener{}, 1}
			p.m.last = 1
			p.acquire(from, "k", "r1", 0)
			p.acquire(from, "k", "r2", time.Minute)
			p.step(from, Request{Kind: Cancel, Key: "k", RequestID: "r3"})
			p.step(from, Request{Kind: Cancel, Key: "k", RequestID: "r4"})
			p.check()
			k, _ := p.m.keys.get("k")
			breakIt(p.m, k)
			if p.m.Check() == nil {
				t.Error("Check finds nothing")
			}
		})
	}
	t.Run("index", func(t *testing.T) {
		p := newPlay(t, 100)
		for i := range indexFrom + 1 {
			p.acquire(Ref{&listener{}, 1}, "k", string(rune('a'+i)), time.Minute)
		}
		p.check()
		k, _ := p.m.keys.get("k")
		delete(k.crowd.tokens, sharelock.MakeToken(1, 1))
		if p.m.Check() == nil {
			t.Error("Check finds nothing")
		}
	})
}
