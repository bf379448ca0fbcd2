package machine

import (
	"fmt"
	"time"

	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/machine/finished"
	"github.com/sgkandale/sharelock/owner/ops"
)

// Apply applies an op that the owner decided to a backup's copy. Ops must come in
// the owner's order, each once. On an error, which wraps [ops.ErrDiverged] or
// [ops.ErrMalformed], the copy is unchanged and is not the owner's. An active machine
// decides for itself and refuses. Call Tidy after a batch of ops.
func (m *Machine) Apply(now time.Duration, op *ops.Op) error {
	if m.active {
		return fmt.Errorf("%w: this copy is the owner's", ops.ErrDiverged)
	}
	if err := op.Valid(); err != nil {
		return err
	}
	m.touched++
	m.handled += op.Size()
	m.due.Clear() // it was kept from when this copy was the owner's
	_, err := m.apply(now, op)
	return err
}

// apply is the only place where the replicated state changes: at the owner when it decides, and at
// a backup when it follows. It returns the claim that the op is about, or nil if there is none now.
func (m *Machine) apply(now time.Duration, op *ops.Op) (*claim, error) {
	c, why := m.change(now, op)
	if why != "" {
		return nil, fmt.Errorf("%w: %v of %q: %s", ops.ErrDiverged, op.Kind, op.Key, why)
	}
	m.seq++
	return c, nil
}

// change does what op says. If it cannot, it returns why and changes nothing.
func (m *Machine) change(now time.Duration, op *ops.Op) (c *claim, why string) {
	k := m.keys.get(op.Key)
	switch op.Kind {
	case ops.Grant:
		if op.Token <= m.last {
			return nil, "token does not grow"
		}
		if op.Waited {
			return m.changeGrantWaiter(now, k, op)
		}
		return m.changeAdd(now, k, op)
	case ops.Enqueue:
		return m.changeAdd(now, k, op)
	case ops.Renew:
		if c = k.hold(op.Token); c == nil {
			return nil, "no such hold"
		}
		c.setTTL(op.TTL)
		c.set(isResent, c.is(isResent) || op.Resent)
		if op.Metadata != nil {
			m.used.bytes -= m.keys.costOf(c)
			m.keys.setMeta(c, op.Metadata)
			m.used.bytes += m.keys.costOf(c)
		}
		m.arm(now, c)
		m.seeRenewed(now, c)
		return c, ""
	case ops.Release:
		if c = k.hold(op.Token); c == nil {
			return nil, "no such hold"
		}
		m.drop(now, c, op)
		return nil, ""
	case ops.Dequeue:
		if c = k.find(op.Principal, op.RequestID); c == nil || c.held() {
			return nil, "no such waiter"
		}
		m.drop(now, c, op)
		return nil, ""
	case ops.Remember:
		if k.find(op.Principal, op.RequestID) != nil {
			return nil, "request id is not over"
		}
		m.remember(finished.Fence, finished.ID{Digest: finished.DigestOf(op.Key, op.Principal, op.RequestID), Until: now + rules.FenceTime, Conn: op.Conn})
	}
	return nil, ""
}

// changeAdd creates a hold or a waiter.
func (m *Machine) changeAdd(now time.Duration, k keyEntry, op *ops.Op) (*claim, string) {
	switch {
	case !k.idle() && k.slots() != op.Slots:
		return nil, "other slots"
	case k.find(op.Principal, op.RequestID) != nil:
		return nil, "request id is in use"
	case op.Kind == ops.Grant && !k.admits(op.Mode):
		return nil, "somebody holds it"
	}
	// This replica may still remember an id that the owner, by its own clock, has forgotten.
	if !op.Unseen {
		m.forgotten(m.finished.Remove(op.Key, op.Principal, op.RequestID))
	}
	c := m.keys.add(k, op)
	m.used.bytes += m.keys.costOf(c)
	if m.busy {
		for _, s := range m.scans {
			s.see(c)
		}
	}
	if c.held() {
		m.last = c.token
		c.since = now
		m.limit(now, c)
	} else {
		m.waiters++
	}
	m.arm(now, c)
	return c, ""
}

func (m *Machine) changeGrantWaiter(now time.Duration, k keyEntry, op *ops.Op) (*claim, string) {
	c := k.find(op.Principal, op.RequestID)
	switch {
	case c == nil || c.held():
		return nil, "no such waiter"
	case !k.admits(c.mode()):
		return nil, "somebody holds it"
	}
	m.keys.promote(m.keys.extra(c), op.Token)
	if q := m.counted(c); q != nil {
		q.Granted(m.keys.principalOf(c))
	}
	m.waiters--
	m.last = c.token
	c.since = now
	c.setTTL(op.TTL)
	c.set(isResent, op.Resent)
	m.limit(now, c)
	m.arm(now, c)
	return c, ""
}

// limit starts the longest time (MaxHold) of a hold that has been granted. Every replica measures
// it from when it learned of the grant. Nothing restarts it: no renewal, and no activation (section
// 4.5), after which the hold must still end. It never ends before the holder's own measure of it,
// which begins earlier and is a tenth shorter (Q3).
func (m *Machine) limit(now time.Duration, c *claim) {
	if d := m.keys.maxHold(c); d > 0 {
		m.keys.extra(c).ends = now + rules.Stretch(d)
	}
}

// drop removes a claim and remembers its request id if the op says so.
func (m *Machine) drop(now time.Duration, c *claim, op *ops.Op) {
	if op.Remember {
		_, _, request := m.keys.ids(c)
		d := finished.DigestOf(op.Key, m.keys.principalOf(c), request)
		m.remember(finished.Ended, finished.ID{Digest: d, Until: now + finished.Keep, Conn: m.keys.connOf(c)})
	}
	m.due.Remove(c.id)
	if !c.held() {
		m.waiters--
	}
	m.used.bytes -= m.keys.costOf(c)
	if q := m.counted(c); q != nil {
		q.Ended(m.keys.principalOf(c), !c.held())
	}
	if c.text == 0 && c.held() {
		m.keys.extra(c).contended.freed = now
	}
	m.keys.remove(c)
}

// arm starts the TTL of a claim afresh. Only the owner measures it.
func (m *Machine) arm(now time.Duration, c *claim) {
	if !m.active {
		return
	}
	if !c.held() {
		w := m.keys.extra(c)
		if m.sync(w.contended) {
			w.contended.listening-- // without this waiter, which has just come
		}
		w.ttl, w.seen, w.since, w.era = c.ttl(), now, now, m.era
		m.watch(w)
		return
	}
	m.due.Set(c.id, m.expires(now, c))
}

// seeRenewed lets a read of the key that is on its way see the renewal of a hold.
func (m *Machine) seeRenewed(now time.Duration, c *claim) {
	if ck := m.keys.of(c).contended; ck != nil && ck.read != nil {
		ck.read.renewed(now, c)
	}
}

// expires returns when a hold ends whose TTL starts now.
func (m *Machine) expires(now time.Duration, c *claim) time.Duration {
	// Q3: the holder's clock may be slower than ours.
	at := now + rules.Stretch(c.ttl())
	if m.keys.maxHold(c) > 0 {
		return min(at, m.keys.extra(c).ends)
	}
	return at
}

// watch sets the deadline of a waiter again.
func (m *Machine) watch(w *claimExtra) { m.due.Set(w.claim.id, w.due()) }
