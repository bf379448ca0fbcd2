package machine

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock/owner/machine/finished"
)

// Every broken invariant has a name: each of these breaks one.
func TestCheckFinds(t *testing.T) {
	for name, breakIt := range map[string]func(m *Machine, k *contendedKey){
		"counted waiters":        func(m *Machine, _ *contendedKey) { m.waiters++ },
		"key under a wrong name": func(m *Machine, k *contendedKey) { k.name = "x" },
		"two exclusive holds": func(m *Machine, k *contendedKey) {
			m.last, m.waiters = 1<<40, 0
			m.keys.promote(k.waiters.first, m.last)
		},
		"token from nowhere":  func(m *Machine, _ *contendedKey) { m.last = 1 },
		"held count":          func(_ *Machine, k *contendedKey) { k.holds.n++ },
		"waiter with a token": func(_ *Machine, k *contendedKey) { k.waiters.first.claim.token = 3 },
		"id twice":            func(_ *Machine, k *contendedKey) { k.waiters.first.request = "r1" },
		"no client":           func(_ *Machine, k *contendedKey) { k.waiters.first.client = "" },
		"text in a contended key": func(m *Machine, k *contendedKey) {
			k.holds.first.claim.text = m.keys.texts.Put("k", "c", "r1")
		},
		"text of another key": func(m *Machine, _ *contendedKey) {
			c := m.keys.get("alone").sole
			m.keys.texts.Remove(c.text)
			c.text = m.keys.texts.Put("anole", "c", "r1")
		},
		"no text": func(m *Machine, _ *contendedKey) {
			c := m.keys.get("alone").sole
			m.keys.texts.Remove(c.text)
			c.text = 0
		},
		"id over":                 func(m *Machine, _ *contendedKey) { rememberFinished(m, finished.Ended, "k", "r1", 1) },
		"no deadline":             func(m *Machine, k *contendedKey) { m.due.Remove(k.holds.first.claim.id) },
		"late deadline":           func(m *Machine, k *contendedKey) { m.due.Entry(k.holds.first.claim.id).Due = 0 },
		"deadline of a waiter":    func(_ *Machine, k *contendedKey) { k.waiters.first.seen++ },
		"deadline of nobody":      func(m *Machine, _ *contendedKey) { m.due.Set(100, time.Hour) },
		"fat hold":                func(_ *Machine, k *contendedKey) { k.holds.first.seen = 1 },
		"settles though attached": func(_ *Machine, k *contendedKey) { k.waiters.first.settles = time.Hour },
		"broken list":             func(_ *Machine, k *contendedKey) { k.waiters.first.prev = k.holds.first },
		"bad TTL":                 func(_ *Machine, k *contendedKey) { k.holds.first.claim.setTTL(0) },
		"not served": func(m *Machine, k *contendedKey) {
			m.due.Remove(k.holds.first.claim.id)
			m.keys.remove(k.holds.first.claim)
		},
		"marked":          func(m *Machine, k *contendedKey) { k.marked, k.served = true, m.era },
		"listening":       func(m *Machine, k *contendedKey) { k.listening++ },
		"unfinished turn": func(m *Machine, k *contendedKey) { m.marked.Push(k) },
		"finished ids": func(m *Machine, _ *contendedKey) {
			before := m.finished // shares its entries with the copy
			m.finished.Remove("k", "", "r3")
			m.finished = before
		},
		"active copy":            func(m *Machine, _ *contendedKey) { m.active = false },
		"too many slots":         func(_ *Machine, k *contendedKey) { k.slots, k.holds.n = 2, 3 },
		"claim of no key":        func(m *Machine, _ *contendedKey) { m.keys.claims.Take() },
		"more of no claim":       func(m *Machine, _ *contendedKey) { m.keys.extras.Take() },
		"text of no claim":       func(m *Machine, _ *contendedKey) { m.keys.texts.Put("k", "c", "r") },
		"another's number":       func(_ *Machine, k *contendedKey) { k.holds.first.claim.id = k.waiters.first.claim.id },
		"another's more":         func(_ *Machine, k *contendedKey) { k.holds.first.claim.extra = k.waiters.first.claim.extra },
		"not in a contended key": func(_ *Machine, k *contendedKey) { k.holds.first.contended = nil },
		"alone in a contended key": func(m *Machine, k *contendedKey) {
			w := k.waiters.first
			k.leave(w)
			m.due.Remove(w.claim.id)
			m.keys.extras.Give(w.claim.extra)
			m.keys.claims.Give(w.claim.id)
			m.waiters = 0
		},
		"alone, not found": func(m *Machine, _ *contendedKey) {
			c := m.keys.get("alone").sole
			m.keys.uncontended.Remove(m.keys.hash("alone"), c.id)
			m.keys.uncontended.Put(m.keys.hash("alone")+1<<31, c.id)
		},
		"alone, count":   func(m *Machine, _ *contendedKey) { m.keys.uncontended.Put(7, m.keys.get("alone").sole.id) },
		"alone, waiting": func(m *Machine, _ *contendedKey) { m.keys.get("alone").sole.token = 0 },
		"alone, fat": func(m *Machine, _ *contendedKey) {
			m.keys.extend(m.keys.get("alone").sole)
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
			breakIt(p.m, p.m.keys.get("k").contended)
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
		ck := p.m.keys.get("k").contended
		ck.tokens.Remove(tokenHash(ck.holds.first.claim.token), ck.holds.first)
		if p.m.Check() == nil {
			t.Error("Check finds nothing")
		}
	})
}
