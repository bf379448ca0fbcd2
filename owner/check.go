package owner

import (
	"fmt"

	"github.com/sgkandale/sharelock"
)

// Check gives the first invariant that does not hold, or nil. It walks the whole
// copy and changes nothing.
func (m *Machine) Check() error {
	waiters := 0
	for name, k := range m.keys.m {
		if name != k.name {
			return fmt.Errorf("partition %d: key %q is found as %q", m.partition, k.name, name)
		}
		if err := m.checkKey(k); err != nil {
			return fmt.Errorf("partition %d: key %q: %w", m.partition, k.name, err)
		}
		waiters += k.waiters()
	}
	switch {
	case waiters != m.waiters:
		return fmt.Errorf("partition %d: %d wait, counted were %d", m.partition, waiters, m.waiters)
	case len(m.marked) > 0:
		return fmt.Errorf("partition %d: a turn has not ended", m.partition)
	}
	if err := m.checkDue(); err != nil {
		return fmt.Errorf("partition %d: %w", m.partition, err)
	}
	if err := m.checkFinished(); err != nil {
		return fmt.Errorf("partition %d: %w", m.partition, err)
	}
	return nil
}

// checkKey: nobody holds a key together with somebody it may not, every request
// id has one claim, and tokens are in order.
func (m *Machine) checkKey(k *keyState) error {
	ids := make(map[string]bool, k.size())
	var before sharelock.Token
	held, waiting := uint32(0), 0
	for c := k.holds.first; c != nil; c = k.holds.after(c) {
		held++
		switch {
		case c.token <= before || c.token > m.last:
			return fmt.Errorf("token %d follows %d", c.token, before)
		case k.slots == 0 && c.mode == sharelock.Exclusive && k.held > 1:
			return fmt.Errorf("an exclusive hold is not alone")
		}
		before = c.token
		if err := m.checkClaim(k, c, ids); err != nil {
			return err
		}
	}
	for c := k.firstWaiter(); c != nil; c = k.nextWaiter(c) {
		waiting++
		if c.token != 0 {
			return fmt.Errorf("%q waits with a token", c.request)
		}
		if err := m.checkClaim(k, c, ids); err != nil {
			return err
		}
	}
	switch {
	case held != k.held || waiting != k.waiters():
		return fmt.Errorf("%d hold and %d wait, counted were %d and %d", held, waiting, k.held, k.waiters())
	case held+uint32(waiting) == 0:
		return fmt.Errorf("nobody holds it or waits for it")
	case k.slots > 1 && held > k.slots:
		return fmt.Errorf("%d hold %d slots", held, k.slots)
	}
	if err := m.checkServed(k); err != nil {
		return err
	}
	return k.checkCrowd()
}

func (m *Machine) checkClaim(k *keyState, c *claim, ids map[string]bool) error {
	switch {
	case ids[c.request]:
		return fmt.Errorf("request id %q is there twice", c.request)
	case c.key != k:
		return fmt.Errorf("%q belongs to another key", c.request)
	case c.next.prev != c || c.prev.next != c:
		return fmt.Errorf("the list is broken at %q", c.request)
	case !validTTL(c.ttl) || !validFamily(c.mode, k.slots):
		return fmt.Errorf("%q has a bad TTL, mode or slots", c.request)
	case m.active != (c.place > 0):
		return fmt.Errorf("%q has place %d among the deadlines", c.request, c.place)
	case m.finished.has(k.name, c.request):
		return fmt.Errorf("request id %q is over", c.request)
	case c.held() && c.more != nil && (c.more.meta == nil || c.more.ref.Caller != nil):
		return fmt.Errorf("hold %q keeps what only a waiter needs", c.request)
	case !c.held() && m.active && c.more.settles != 0 && c.more.ref.Caller != nil:
		return fmt.Errorf("%q settles and is attached", c.request)
	}
	ids[c.request] = true
	return nil
}

// checkServed: the head of a queue that could have the key has it.
func (m *Machine) checkServed(k *keyState) error {
	c := k.firstWaiter()
	if c == nil || !m.active || m.quarantine != 0 || m.spent() || c.more.settles != 0 {
		return nil
	}
	if c.more.ref.Alive() && k.admits(c.mode) {
		return fmt.Errorf("%q waits for a key that it could have", c.request)
	}
	return nil
}

// checkCrowd: there is a crowd when there is need of one, and its index is whole.
func (k *keyState) checkCrowd() error {
	w := k.crowd
	switch {
	case w == nil && k.size() > indexFrom:
		return fmt.Errorf("%d claims without an index", k.size())
	case w == nil:
		return nil
	case w.marked:
		return fmt.Errorf("it is marked between turns")
	case w.ids == nil && (w.n == 0 || k.size() > indexFrom):
		return fmt.Errorf("%d claims and no index, %d of them wait", k.size(), w.n)
	case w.ids == nil:
		return nil
	case len(w.ids) != k.size() || len(w.tokens) != int(k.held):
		return fmt.Errorf("the index has %d ids and %d tokens of %d claims", len(w.ids), len(w.tokens), k.size())
	}
	for id, c := range w.ids {
		if c.key != k || c.request != id || c.held() && w.tokens[c.token] != c {
			return fmt.Errorf("the index is wrong about %q", id)
		}
	}
	return nil
}

// checkDue: the deadlines are a heap, and no entry is later than its claim is due.
func (m *Machine) checkDue() error {
	for i, e := range m.due.heap {
		switch {
		case int(e.c.place) != i+1:
			return fmt.Errorf("deadline %d knows its place as %d", i, e.c.place)
		case e.c.key == nil:
			return fmt.Errorf("deadline %d is of a claim that has ended", i)
		case i > 0 && m.due.heap[(i-1)/arity].at > e.at:
			return fmt.Errorf("deadline %d is before its parent", i)
		case e.at > e.c.due():
			return fmt.Errorf("deadline %d is late for %q", i, e.c.request)
		}
	}
	if !m.active && len(m.due.heap) > 0 {
		return fmt.Errorf("%d deadlines on a copy that is not active", len(m.due.heap))
	}
	return nil
}

// checkFinished: the list and the map of finished ids are the same, oldest first.
func (m *Machine) checkFinished() error {
	n := 0
	for f := m.finished.oldest; f != nil; f = f.next {
		n++
		if found, _ := m.finished.ids.get(f.id); found != f {
			return fmt.Errorf("finished request id %q is not found", f.id.request)
		}
		if f.next != nil && f.next.until < f.until || f.next == nil && m.finished.newest != f {
			return fmt.Errorf("finished request ids are out of order at %q", f.id.request)
		}
	}
	if n != m.finished.ids.len() {
		return fmt.Errorf("%d finished request ids in the list, %d in the map", n, m.finished.ids.len())
	}
	return nil
}
