package owner

import (
	"testing"
	"time"
)

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
			k.holds.first.claim.text = m.keys.texts.Put("k", "c", "r1")
		},
		"text of another key": func(m *Machine, _ *crowd) {
			c := m.keys.get("alone").alone
			m.keys.texts.Remove(c.text)
			c.text = m.keys.texts.Put("anole", "c", "r1")
		},
		"no text": func(m *Machine, _ *crowd) {
			c := m.keys.get("alone").alone
			m.keys.texts.Remove(c.text)
			c.text = 0
		},
		"id over":                 func(m *Machine, _ *crowd) { m.finished.remember(wasSeen, "k", "r1", 1) },
		"no deadline":             func(m *Machine, k *crowd) { m.due.Remove(k.holds.first.claim.id) },
		"late deadline":           func(m *Machine, k *crowd) { m.due.Entry(k.holds.first.claim.id).Due = 0 },
		"deadline of a waiter":    func(_ *Machine, k *crowd) { k.waiting.first.seen++ },
		"deadline of nobody":      func(m *Machine, _ *crowd) { m.due.Set(100, time.Hour) },
		"fat hold":                func(_ *Machine, k *crowd) { k.holds.first.seen = 1 },
		"settles though attached": func(_ *Machine, k *crowd) { k.waiting.first.settles = time.Hour },
		"broken list":             func(_ *Machine, k *crowd) { k.waiting.first.prev = k.holds.first },
		"bad TTL":                 func(_ *Machine, k *crowd) { k.holds.first.claim.setTTL(0) },
		"not served": func(m *Machine, k *crowd) {
			m.due.Remove(k.holds.first.claim.id)
			m.keys.remove(k.holds.first.claim)
		},
		"marked":          func(m *Machine, k *crowd) { k.marked, k.served = true, m.era },
		"listening":       func(m *Machine, k *crowd) { k.listening++ },
		"unfinished turn": func(m *Machine, k *crowd) { m.marked.Push(k) },
		"finished order":  func(m *Machine, _ *crowd) { m.finished.queues[isFence].at(1).until = time.Hour },
		"finished index": func(m *Machine, _ *crowd) {
			o := m.finished.queues[isFence].at(1)
			m.finished.ids.Remove(m.finished.hash(&o.digest), 1|queueBit)
		},
		"finished count":   func(m *Machine, _ *crowd) { m.finished.ids.Put(7, 1<<20) },
		"finished room":    func(m *Machine, _ *crowd) { m.finished.queues[wasSeen].chunks = make([]*[chunkLen]over, 1) },
		"active copy":      func(m *Machine, _ *crowd) { m.active = false },
		"too many slots":   func(_ *Machine, k *crowd) { k.slots, k.holds.n = 2, 3 },
		"claim of no key":  func(m *Machine, _ *crowd) { m.keys.claims.Take() },
		"more of no claim": func(m *Machine, _ *crowd) { m.keys.mores.Take() },
		"text of no claim": func(m *Machine, _ *crowd) { m.keys.texts.Put("k", "c", "r") },
		"another's number": func(_ *Machine, k *crowd) { k.holds.first.claim.id = k.waiting.first.claim.id },
		"another's more":   func(_ *Machine, k *crowd) { k.holds.first.claim.more = k.waiting.first.claim.more },
		"not in a crowd":   func(_ *Machine, k *crowd) { k.holds.first.crowd = nil },
		"alone in a crowd": func(m *Machine, k *crowd) {
			w := k.waiting.first
			k.leave(w)
			m.due.Remove(w.claim.id)
			m.keys.mores.Give(w.claim.more)
			m.keys.claims.Give(w.claim.id)
			m.waiters = 0
		},
		"alone, not found": func(m *Machine, _ *crowd) {
			c := m.keys.get("alone").alone
			m.keys.alone.Remove(m.keys.hash("alone"), c.id)
			m.keys.alone.Put(m.keys.hash("alone")+1<<31, c.id)
		},
		"alone, count":   func(m *Machine, _ *crowd) { m.keys.alone.Put(7, m.keys.get("alone").alone.id) },
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
		cr.tokens.Remove(tokenHash(cr.holds.first.claim.token), cr.holds.first)
		if p.m.Check() == nil {
			t.Error("Check finds nothing")
		}
	})
}
