package owner

import (
	"maps"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/mutant"
)

// get reads a key, linearizably: the op has its place in the log (A3).
func (t turn) get(from Ref, r *Request) {
	if t.m.quarantine != 0 {
		t.fail(from, r.Send, t.quarantined())
		return
	}
	if !mutant.On(mutant.ReadWithoutLog) {
		t.commit(Op{Kind: OpRead, Key: r.Key})
	}
	l, ok := t.m.Lock(t.now, r.Key)
	if !ok {
		t.fail(from, r.Send, &sharelock.Error{Err: sharelock.ErrNotHeld})
		return
	}
	t.reply(from, Answer{Outcome: Done, Send: r.Send, Holds: l.Holds, Lock: &l})
}

// check says whether a token is a grant, linearizably.
func (t turn) check(from Ref, r *Request) {
	k, _ := t.m.keys.get(r.Key)
	c := k.byToken(r.Token)
	if c == nil && t.m.quarantine != 0 {
		t.fail(from, r.Send, t.quarantined())
		return
	}
	t.commit(Op{Kind: OpRead, Key: r.Key})
	a := Answer{Outcome: Done, Send: r.Send, Current: c != nil}
	if k != nil {
		a.Holds = t.m.holds(t.now, k, int(k.held))
	}
	t.reply(from, a)
}

// Lock is the state of a key; false when nobody holds it or waits for it. It
// shares nothing with the machine. On a copy that is not active the times are 0.
func (m *Machine) Lock(now time.Duration, key string) (sharelock.Lock, bool) {
	k, ok := m.keys.get(key)
	if !ok {
		return sharelock.Lock{}, false
	}
	l := sharelock.Lock{
		Key: key, Partition: m.partition, Owner: m.node, Epoch: m.epoch,
		Holds:      m.holds(now, k, int(k.held)),
		Quarantine: m.Quarantined(now),
	}
	if n := k.waiters(); n > 0 {
		l.Waiters = make([]sharelock.Waiter, 0, n)
	}
	for c := k.firstWaiter(); c != nil; c = k.nextWaiter(c) {
		w := sharelock.Waiter{
			ClientID: c.client, RequestID: c.request, Mode: c.mode, Slots: k.slots,
			Metadata: maps.Clone(c.meta()),
		}
		if m.active {
			w.Waiting = now - c.more.since
		}
		l.Waiters = append(l.Waiters, w)
	}
	return l, true
}

// holds are the oldest holds of a key, at most so many.
func (m *Machine) holds(now time.Duration, k *keyState, most int) []sharelock.Hold {
	n := min(int(k.held), most)
	if n == 0 {
		return nil
	}
	holds := make([]sharelock.Hold, 0, n)
	for c := k.holds.first; c != nil && len(holds) < n; c = k.holds.after(c) {
		holds = append(holds, m.hold(now, c))
	}
	return holds
}

// hold is what others see of a hold.
func (m *Machine) hold(now time.Duration, c *claim) sharelock.Hold {
	h := sharelock.Hold{
		Key: c.key.name, Token: c.token, ClientID: c.client, RequestID: c.request,
		Mode: c.mode, Slots: c.key.slots, TTL: c.ttl, Node: m.node, Metadata: maps.Clone(c.meta()),
	}
	if m.active {
		h.ExpiresIn = max(c.deadline-now, 0)
	}
	return h
}
