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
		t.commit(Op{Kind: t.m.place(), Key: r.Key})
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
	k := t.m.keys.get(r.Key)
	c := k.hold(r.Token)
	if c == nil && t.m.quarantine != 0 {
		t.fail(from, r.Send, t.quarantined())
		return
	}
	t.commit(Op{Kind: t.m.place(), Key: r.Key})
	a := Answer{Outcome: Done, Send: r.Send, Current: c != nil}
	a.Holds = t.m.holds(t.now, k, k.held())
	t.reply(from, a)
}

// Lock is the state of a key; false when nobody holds it or waits for it. It
// shares nothing with the machine. On a copy that is not active the times are 0.
func (m *Machine) Lock(now time.Duration, name string) (sharelock.Lock, bool) {
	k := m.keys.get(name)
	if k.idle() {
		return sharelock.Lock{}, false
	}
	l := sharelock.Lock{
		Key: name, Partition: m.partition, Owner: m.node, Epoch: m.epoch,
		Holds:      m.holds(now, k, k.held()),
		Quarantine: m.Quarantined(now),
	}
	if n := k.waiters(); n > 0 {
		l.Waiters = make([]sharelock.Waiter, 0, n)
	}
	for x := range k.queue {
		w := sharelock.Waiter{
			ClientID: x.client, RequestID: x.request, Mode: x.claim.mode(), Slots: k.slots(),
			Metadata: maps.Clone(x.meta),
		}
		if m.active {
			w.Waiting = now - x.since
		}
		l.Waiters = append(l.Waiters, w)
	}
	return l, true
}

// holds are the oldest holds of a key, at most so many.
func (m *Machine) holds(now time.Duration, k key, most int) []sharelock.Hold {
	n := min(k.held(), most)
	if n == 0 {
		return nil
	}
	holds := make([]sharelock.Hold, 0, n)
	for c := range k.holds {
		if len(holds) == n {
			break
		}
		holds = append(holds, m.hold(now, c))
	}
	return holds
}

// hold is what others see of a hold.
func (m *Machine) hold(now time.Duration, c *claim) sharelock.Hold {
	name, client, request := m.keys.ids(c)
	return m.holdAs(now, c, name, client, request)
}

// holdAs is hold for who has the hold's key and ids in strings.
func (m *Machine) holdAs(now time.Duration, c *claim, name, client, request string) sharelock.Hold {
	h := sharelock.Hold{
		Key: name, Token: c.token, ClientID: client, RequestID: request,
		Mode: c.mode(), Slots: m.keys.of(c).slots(), TTL: c.ttl(), Node: m.node,
		Metadata: maps.Clone(m.keys.meta(c)),
	}
	if m.active {
		h.ExpiresIn = max(m.due.due(c.id)-now, 0)
	}
	return h
}
