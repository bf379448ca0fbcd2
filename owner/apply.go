package owner

import (
	"fmt"
	"time"

	"github.com/sgkandale/sharelock/owner/mutant"
)

// Apply applies an op that the owner decided to a backup's copy. Ops must come in
// the owner's order, each once. On an error, which wraps [ErrDiverged] or
// [ErrMalformed], the copy is unchanged and is not the owner's. An active machine
// decides for itself and refuses.
func (m *Machine) Apply(now time.Duration, op *Op) error {
	if m.active {
		return fmt.Errorf("%w: this copy is the owner's", ErrDiverged)
	}
	if err := op.valid(); err != nil {
		return err
	}
	if mutant.On(mutant.AckUnapplied) {
		m.seq++
		return nil
	}
	_, err := m.apply(now, op)
	return err
}

// apply is the one place where what is in the copies changes: by the owner when
// it decides, by a backup when it follows. It gives the claim that the op is
// about, which for a release or a dequeue is in no list any more.
func (m *Machine) apply(now time.Duration, op *Op) (*claim, error) {
	c, why := m.change(now, op)
	if why != "" {
		return nil, fmt.Errorf("%w: %v of %q: %s", ErrDiverged, op.Kind, op.Key, why)
	}
	m.seq++
	return c, nil
}

// change does what op says, or says why it cannot and changes nothing.
func (m *Machine) change(now time.Duration, op *Op) (c *claim, why string) {
	k, _ := m.keys.get(op.Key)
	switch op.Kind {
	case OpGrant:
		if op.Token <= m.last {
			return nil, "token does not grow"
		}
		if op.Waited {
			return m.changeGrantWaiter(now, k, op)
		}
		return m.changeAdd(now, k, op)
	case OpEnqueue:
		return m.changeAdd(now, k, op)
	case OpRenew:
		if c = k.byToken(op.Token); c == nil {
			return nil, "no such hold"
		}
		c.ttl = op.TTL
		c.resent = c.resent || op.Resent
		m.arm(now, c)
		return c, ""
	case OpRelease:
		if c = k.byToken(op.Token); c == nil {
			return nil, "no such hold"
		}
		m.drop(now, c, op.Remember)
		return c, ""
	case OpDequeue:
		if c = k.byRequest(op.RequestID); c == nil || c.held() {
			return nil, "no such waiter"
		}
		m.drop(now, c, op.Remember)
		return c, ""
	case OpRemember:
		if k.byRequest(op.RequestID) != nil {
			return nil, "request id is not over"
		}
		m.finished.add(op.Key, op.RequestID, now+keepFinished)
	}
	return nil, ""
}

// changeAdd makes a new hold or waiter.
func (m *Machine) changeAdd(now time.Duration, k *keyState, op *Op) (*claim, string) {
	switch {
	case k == nil:
		k = &keyState{name: op.Key, slots: op.Slots}
		m.keys.put(k.name, k)
	case k.slots != op.Slots:
		return nil, "other slots"
	case k.find(op.RequestID) != nil:
		return nil, "request id is in use"
	case op.Kind == OpGrant && !k.admits(op.Mode):
		return nil, "somebody holds it"
	}
	// This replica's clock may still remember an id that the owner's has forgotten.
	m.finished.remove(op.Key, op.RequestID)
	c := &claim{
		client: op.ClientID, request: op.RequestID, token: op.Token, ttl: op.TTL,
		mode: op.Mode, ownID: op.OwnID, resent: op.Resent,
	}
	if len(op.Metadata) > 0 {
		c.more = &more{meta: op.Metadata}
	}
	k.add(c)
	if c.held() {
		m.last = c.token
	} else {
		m.waiters++
	}
	m.arm(now, c)
	return c, ""
}

func (m *Machine) changeGrantWaiter(now time.Duration, k *keyState, op *Op) (*claim, string) {
	c := k.byRequest(op.RequestID)
	switch {
	case c == nil || c.held():
		return nil, "no such waiter"
	case !k.admits(c.mode):
		return nil, "somebody holds it"
	}
	k.promote(c, op.Token)
	m.waiters--
	m.last = c.token
	c.ttl = op.TTL
	c.resent = op.Resent
	c.trim()
	m.arm(now, c)
	return c, ""
}

// drop takes a claim out of its key, and the key out of the map with the last.
func (m *Machine) drop(now time.Duration, c *claim, remember bool) {
	k := c.key
	m.due.remove(c)
	if !c.held() {
		m.waiters--
	}
	k.remove(c)
	if k.size() == 0 {
		m.keys.delete(k.name)
	}
	if remember {
		m.finished.add(k.name, c.request, now+keepFinished)
	}
}

// arm starts the time of a claim afresh; only the owner measures it.
func (m *Machine) arm(now time.Duration, c *claim) {
	if !m.active {
		return
	}
	if c.held() {
		// Q3: the holder's clock may be slower than ours.
		c.deadline = now + Stretch(c.ttl)
		if mutant.On(mutant.NotStretched) {
			c.deadline = now + c.ttl
		}
	} else {
		if c.more == nil {
			c.more = &more{}
		}
		c.more.ttl, c.more.seen, c.more.since = c.ttl, now, now
	}
	m.due.set(c)
}
