package owner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
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
		live := map[uint32]time.Duration{}
		at := rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.IntRange(0, 1000).Draw(t, "at"))
		})
		pick := func(t *rapid.T) uint32 {
			if len(live) == 0 {
				t.Skip("empty")
			}
			return rapid.SampledFrom(slices.Sorted(maps.Keys(live))).Draw(t, "claim")
		}
		drop := func(id uint32) {
			h.remove(id)
			delete(live, id)
		}
		set := func(t *rapid.T) {
			id := rapid.Uint32Range(1, 100).Draw(t, "claim")
			live[id] = at.Draw(t, "deadline")
			h.set(id, live[id])
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": set, "set 2": set, "set 3": set,
			"renew": func(t *rapid.T) {
				id := pick(t)
				live[id] = at.Draw(t, "deadline")
				h.set(id, live[id])
			},
			"remove": func(t *rapid.T) { drop(pick(t)) },
			"pop": func(t *rapid.T) {
				id, due := h.first(entryDue)
				if id == 0 {
					t.Skip("empty")
				}
				if due != live[id] {
					t.Fatalf("due at %v, its deadline is %v", due, live[id])
				}
				drop(id)
			},
			"": func(t *rapid.T) {
				if h.len() != len(live) {
					t.Fatalf("%d entries for %d claims", h.len(), len(live))
				}
				first, due := h.first(entryDue)
				for id, at := range live {
					if first == 0 || at < due {
						t.Fatalf("first is due at %v, another at %v", due, at)
					}
					if h.entry(id).due != at {
						t.Fatalf("claim %d is due at %v, want %v", id, h.entry(id).due, at)
					}
				}
				if err := h.check(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// A renewal is a store: the heap is put right when somebody must know.
func TestRenewalsAreLazy(t *testing.T) {
	var h deadlines
	for id := range uint32(100) {
		h.set(id+1, 10)
		h.set(id+1, 20)
	}
	if id := h.over(9, new(100), entryDue); id != 0 || h.heap.at(0).at != 10 {
		t.Errorf("claim %d is over, the top entry is for %v, want none and 10", id, h.heap.at(0).at)
	}
	if id := h.over(10, new(100), entryDue); id != 0 || h.heap.at(0).at != 20 {
		t.Errorf("claim %d is over, the top entry is for %v, want none and 20", id, h.heap.at(0).at)
	}
	if h.over(20, new(100), entryDue) == 0 {
		t.Error("no claim is over in its time")
	}
}

// remember adds an id of a key to those that are over.
func (f *finished) remember(queue int, key, request string, until time.Duration) {
	f.add(queue, over{digest: digestOf(key, request), until: until})
}

// expire forgets what is over by now.
func (f *finished) expire(now time.Duration) (gone int) {
	f.forget(now, 1<<30, func(over) { gone++ })
	return gone
}

// Finished ids go one by one, and a claim that comes again ends one early.
func TestFinishedIDs(t *testing.T) {
	f := newFinished()
	for i, id := range []string{"a", "b", "c", "a"} {
		f.remember(wasSeen, "k", id, time.Duration(10+i))
	}
	f.remove("k", "b")
	f.remove("k", "b")
	f.remove("other", "a")
	f.expire(9)
	if !f.has("k", "a") || f.has("k", "b") || !f.has("k", "c") || f.has("other", "a") || f.has("a", "k") {
		t.Error("before their time: want a and c")
	}
	// The second add of a made it live longer.
	f.expire(12)
	if !f.has("k", "a") || f.has("k", "c") {
		t.Error("after the time of c: want a")
	}
	// A clock that goes back does not break the order.
	f.remember(wasSeen, "k", "d", 5)
	if oldest := f.next; f.at(f.find(new(digestOf("k", "d")))).until != oldest {
		t.Errorf("d is forgotten before a, at %v", oldest)
	}
	// A fence has a shorter life, whatever is remembered beside it.
	f.remember(isFence, "k", "e", 7)
	if first := f.next; first != 7 {
		t.Errorf("the first is forgotten at %v, want the fence at 7", first)
	}
	f.expire(7)
	if f.has("k", "e") || !f.has("k", "d") {
		t.Error("after the time of the fence: want d, and not the fence")
	}
	if err := f.check(); err != nil {
		t.Error(err)
	}
	f.remove("k", "d")
	f.expire(13)
	if err := f.check(); err != nil || f.len() != 0 {
		t.Errorf("%d ids are left, %v", f.len(), err)
	}
}

// Key and id are told apart in a digest.
func TestDigests(t *testing.T) {
	seen := map[digest]string{}
	for _, x := range [][2]string{{"a", "b"}, {"ab", ""}, {"", "ab"}, {"b", "a"}, {"a", "bb"}, {"ab", "b"}, {strings.Repeat("k", sharelock.MaxKeyBytes), "r"}} {
		d := digestOf(x[0], x[1])
		if was, ok := seen[d]; ok {
			t.Errorf("%q has the digest of %s", x, was)
		}
		seen[d] = fmt.Sprintf("%q", x)
	}
	// It is in copies: it must be the same everywhere, for ever.
	if d := fmt.Sprintf("%x", digestOf("orders/42", "r-7")); d != "6cbaf4c1bb9f7d90c86ce1021397feb7" {
		t.Errorf("digest %s", d)
	}
}

// However many ids go, they leave no room behind, and the rest is as it was.
func TestFinishedIDsLeaveNoRoom(t *testing.T) {
	const n, left = 10 * shrinkFrom, 10
	for name, drop := range map[string]func(f *finished){
		"forgotten": func(f *finished) { f.expire(n - left) },
		"removed": func(f *finished) {
			for i := range n - left {
				f.remove("k", fmt.Sprint(i+1))
			}
		},
		"removed, the newest first": func(f *finished) {
			for i := range n - left {
				f.remove("k", fmt.Sprint(n-left-i))
			}
			f.expire(0)
		},
	} {
		f := newFinished()
		for i := range n {
			f.remember(wasSeen, "k", fmt.Sprint(i+1), time.Duration(i+1))
		}
		drop(&f)
		if err := f.check(); err != nil || f.len() != left || len(f.queues[wasSeen].chunks)*chunkLen >= shrinkFrom {
			t.Errorf("%s: %d are left in %d chunks; %v", name, f.len(), len(f.queues[wasSeen].chunks), err)
		}
		if !f.has("k", fmt.Sprint(n)) || f.has("k", "1") {
			t.Errorf("%s: the wrong ones are left", name)
		}
	}
}

// Numbers of the queue go round, and no step touches more than it may.
func TestFinishedNumbersGoRound(t *testing.T) {
	f := newFinished()
	f.queues[isFence].first = queueBit - 3
	for i := range 3 * chunkLen {
		f.remember(isFence, "k", fmt.Sprint(i), time.Duration(i))
		if err := f.check(); err != nil || !f.has("k", fmt.Sprint(i)) {
			t.Fatalf("id %d: %v", i, err)
		}
	}
	if n := f.expire(chunkLen); n != chunkLen+1 {
		t.Errorf("%d were forgotten, want %d", n, chunkLen+1)
	}
	gone := 0
	f.forget(time.Hour, 7, func(over) { gone++ })
	if gone != 7 || f.check() != nil {
		t.Errorf("%d were forgotten in a step of 7, %v", gone, f.check())
	}
}

// Finished ids beside a list of them.
func TestFinishedAgainstList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFinished()
		type known struct {
			digest digest
			until  time.Duration
			queue  int
		}
		var list []known
		var now time.Duration
		var last [2]time.Duration
		some := func(t *rapid.T) (key, request string) {
			return rapid.StringMatching("[ab]{1,2}").Draw(t, "key"), rapid.StringMatching("[ab]{1,3}").Draw(t, "request")
		}
		drop := func(d digest) { list = slices.DeleteFunc(list, func(o known) bool { return o.digest == d }) }
		add := func(t *rapid.T) {
			key, request := some(t)
			queue := rapid.IntRange(0, 1).Draw(t, "queue")
			o := known{digestOf(key, request), now + time.Duration(rapid.IntRange(1, 20).Draw(t, "left")), queue}
			drop(o.digest)
			if !slices.ContainsFunc(list, func(x known) bool { return x.queue == queue }) {
				last[queue] = 0
			}
			last[queue] = max(last[queue], o.until)
			o.until = last[queue]
			list = append(list, o)
			f.remember(queue, key, request, o.until)
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": add, "add 2": add,
			"remove": func(t *rapid.T) {
				key, request := some(t)
				drop(digestOf(key, request))
				f.remove(key, request)
			},
			"forget": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 5).Draw(t, "pass"))
				list = slices.DeleteFunc(list, func(o known) bool { return o.until <= now })
				f.expire(now)
			},
			"": func(t *rapid.T) {
				if f.len() != len(list) {
					t.Fatalf("%d are known, want %v", f.len(), list)
				}
				for _, o := range list {
					if id := f.find(&o.digest); id == 0 || f.at(id).until != o.until || int(id/queueBit) != o.queue {
						t.Fatalf("%v is not found, or not as it was", o)
					}
				}
				if err := f.check(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
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
	for name, breakIt := range map[string]func(m *Machine, k *crowd){
		"counted waiters":        func(m *Machine, _ *crowd) { m.waiters++ },
		"key under a wrong name": func(m *Machine, k *crowd) { k.name = "x" },
		"two exclusive holds": func(m *Machine, k *crowd) {
			m.last, m.waiters = 1<<40, 0
			m.keys.promote(k.waiting.first, m.last)
		},
		"token from nowhere":  func(m *Machine, _ *crowd) { m.last = 1 },
		"held count":          func(_ *Machine, k *crowd) { k.holds.n++ },
		"waiter with a token": func(_ *Machine, k *crowd) { k.waiting.first.claim.token = 3 },
		"id twice":            func(_ *Machine, k *crowd) { k.waiting.first.request = "r1" },
		"no client":           func(_ *Machine, k *crowd) { k.waiting.first.client = "" },
		"text in a crowd": func(m *Machine, k *crowd) {
			k.holds.first.claim.text = m.keys.texts.put("k", "c", "r1")
		},
		"text of another key": func(m *Machine, _ *crowd) {
			c := m.keys.get("alone").alone
			m.keys.texts.remove(c.text)
			c.text = m.keys.texts.put("anole", "c", "r1")
		},
		"no text": func(m *Machine, _ *crowd) {
			c := m.keys.get("alone").alone
			m.keys.texts.remove(c.text)
			c.text = 0
		},
		"id over":              func(m *Machine, _ *crowd) { m.finished.remember(wasSeen, "k", "r1", 1) },
		"no deadline":          func(m *Machine, k *crowd) { m.due.remove(k.holds.first.claim.id) },
		"late deadline":        func(m *Machine, k *crowd) { m.due.entry(k.holds.first.claim.id).due = 0 },
		"deadline of a waiter": func(_ *Machine, k *crowd) { k.waiting.first.seen++ },
		"deadline of nobody":   func(m *Machine, _ *crowd) { m.due.set(100, time.Hour) },
		"heap order": func(m *Machine, _ *crowd) {
			e := m.due.heap.at(0)
			e.at, e.due = 2*time.Hour, 2*time.Hour
		},
		"heap place":              func(m *Machine, k *crowd) { m.due.heap.at(0).id = m.due.heap.at(1).id },
		"fat hold":                func(_ *Machine, k *crowd) { k.holds.first.seen = 1 },
		"settles though attached": func(_ *Machine, k *crowd) { k.waiting.first.settles = time.Hour },
		"broken list":             func(_ *Machine, k *crowd) { k.waiting.first.prev = k.holds.first },
		"bad TTL":                 func(_ *Machine, k *crowd) { k.holds.first.claim.setTTL(0) },
		"not served": func(m *Machine, k *crowd) {
			m.due.remove(k.holds.first.claim.id)
			m.keys.remove(k.holds.first.claim)
		},
		"marked":          func(m *Machine, k *crowd) { k.marked, k.served = true, m.era },
		"listening":       func(m *Machine, k *crowd) { k.listening++ },
		"unfinished turn": func(m *Machine, k *crowd) { m.marked.push(k) },
		"finished order":  func(m *Machine, _ *crowd) { m.finished.queues[isFence].at(1).until = time.Hour },
		"finished index": func(m *Machine, _ *crowd) {
			o := m.finished.queues[isFence].at(1)
			m.finished.ids.remove(m.finished.hash(&o.digest), 1|queueBit)
		},
		"finished count":   func(m *Machine, _ *crowd) { m.finished.ids.one.n++ },
		"finished room":    func(m *Machine, _ *crowd) { m.finished.queues[wasSeen].chunks = make([]*[chunkLen]over, 1) },
		"active copy":      func(m *Machine, _ *crowd) { m.active = false },
		"too many slots":   func(_ *Machine, k *crowd) { k.slots, k.holds.n = 2, 3 },
		"claim of no key":  func(m *Machine, _ *crowd) { m.keys.claims.take() },
		"more of no claim": func(m *Machine, _ *crowd) { m.keys.mores.take() },
		"text of no claim": func(m *Machine, _ *crowd) { m.keys.texts.put("k", "c", "r") },
		"lost block":       func(m *Machine, _ *crowd) { m.keys.texts.texts.end += textUnit },
		"block free twice": func(m *Machine, _ *crowd) {
			id := m.keys.texts.put("k", "c", "r")
			m.keys.texts.remove(id)
			m.keys.texts.texts.release(id, textUnitsOf(3))
		},
		"record free twice": func(m *Machine, _ *crowd) {
			m.keys.claims.give(m.keys.claims.take())
			m.keys.claims.free.n++
			m.keys.claims.records.n++
		},
		"another's number": func(_ *Machine, k *crowd) { k.holds.first.claim.id = k.waiting.first.claim.id },
		"another's more":   func(_ *Machine, k *crowd) { k.holds.first.claim.more = k.waiting.first.claim.more },
		"not in a crowd":   func(_ *Machine, k *crowd) { k.holds.first.crowd = nil },
		"alone in a crowd": func(m *Machine, k *crowd) {
			w := k.waiting.first
			k.leave(w)
			m.due.remove(w.claim.id)
			m.keys.mores.give(w.claim.more)
			m.keys.claims.give(w.claim.id)
			m.waiters = 0
		},
		"alone, not found": func(m *Machine, _ *crowd) {
			c := m.keys.get("alone").alone
			m.keys.alone.remove(m.keys.hash("alone"), c.id)
			m.keys.alone.put(m.keys.hash("alone")+1<<31, c.id)
		},
		"alone, count":   func(m *Machine, _ *crowd) { m.keys.alone.one.n++ },
		"alone, waiting": func(m *Machine, _ *crowd) { m.keys.get("alone").alone.token = 0 },
		"alone, fat": func(m *Machine, _ *crowd) {
			m.keys.extend(m.keys.get("alone").alone)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlay(t, 10)
			from := Ref{&listener{}, 1}
			p.m.last = 1
			p.acquire(from, "k", "r1", 0)
			p.acquire(from, "k", "r2", time.Minute)
			p.acquire(from, "alone", "r1", 0)
			p.step(from, Request{Kind: Cancel, Key: "k", RequestID: "r3"})
			p.step(from, Request{Kind: Cancel, Key: "k", RequestID: "r4"})
			p.check()
			breakIt(p.m, p.m.keys.get("k").crowd)
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
		cr := p.m.keys.get("k").crowd
		cr.tokens.remove(tokenHash(cr.holds.first.claim.token), cr.holds.first)
		if p.m.Check() == nil {
			t.Error("Check finds nothing")
		}
	})
}
