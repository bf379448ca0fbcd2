package machine

import (
	"time"

	"github.com/sgkandale/sharelock/internal/compact"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/ops"
)

// Activate makes this copy the owner's in an epoch (section 4.5). Every TTL starts afresh and every
// waiter settles for one period. node is the name that is put into holds. Waiters that were
// attached are forgotten; see Detach.
//
// It changes no claims: what it means for each of them is computed when needed, see dueOf and
// fresh. So it takes no time if the copy is prepared; see Prepare.
func (m *Machine) Activate(now time.Duration, epoch uint32, node string) {
	if !m.prepared {
		m.BeginPrepare()
		for !m.Prepare(now) {
		}
	}
	m.prepared = false // for the next epoch
	m.active, m.epoch, m.node, m.started = true, epoch, node, now
	m.era++
	m.quarantine = m.quarantineAt(now)
}

// BeginPrepare begins to prepare the copy for an activation. Prepare goes on.
func (m *Machine) BeginPrepare() {
	m.prepared = false
	m.preparing = preparing{waiters: m.keys.extras.Last()}
	if m.due.Len() != m.keys.claims.Used() {
		m.preparing.claims = m.keys.claims.Last()
	}
}

// preparing says what has not been prepared yet: the records up to these numbers.
type preparing struct{ waiters, claims int }

// Prepare prepares the next part of the copy for an activation and reports whether it was the last.
// Between the parts the copy must not change, except that finished ids may be forgotten.
//
// Every claim gets an entry among the deadlines that is not too late, whenever the activation
// comes. If the same owner goes on, the holds have their entries already.
func (m *Machine) Prepare(now time.Duration) (done bool) {
	left := StepEntries
	p := &m.preparing
	for ; p.claims > 0 && left > 0; p.claims-- {
		left--
		c := m.keys.claims.At(uint32(p.claims))
		switch {
		case c.id == 0 || !c.held():
		case m.due.Entry(c.id) == nil:
			m.due.Set(c.id, m.expires(now, c))
		}
	}
	for ; p.waiters > 0 && left > 0; p.waiters-- {
		left--
		if w := *m.keys.extras.At(uint32(p.waiters)); w != nil && !w.claim.held() {
			m.due.Set(w.claim.id, now) // fresh finds out when
		}
	}
	m.touched += StepEntries - left
	m.prepared = p.claims == 0 && p.waiters == 0
	return m.prepared
}

// restarted returns the earliest deadline of a hold: its TTL started afresh with the activation.
func (m *Machine) restarted(c *claim) time.Duration {
	return m.expires(m.started, c)
}

// fresh brings what the owner knows of a waiter up to this activation. The caller that listened in
// an earlier one is told to retry, if Sweep has not done so.
func (t turn) fresh(w *claimExtra) {
	if w.era == t.m.era || w.claim.held() {
		return
	}
	old := w.waiterState
	t.m.note(w, func(now *waiterState) { *now = t.m.waitingOf(w) })
	if old.ref.Caller != nil {
		t.reply(old.ref, Answer{Outcome: Retry, Send: old.send})
	}
}

// Detach ends what Activate began, when a newer epoch begins or the node stops. Until the next
// Activate all requests are answered Retry (A1). It takes no time; Sweep then forgets the callers
// of waiters, a part at a time.
func (m *Machine) Detach() {
	m.active = false
	m.era++
	if m.unswept = 0; m.waiters > 0 {
		m.unswept = m.keys.extras.Last()
	}
	for i := range m.reads.Len() {
		r := *m.reads.At(i)
		r.end()
		m.unread.Push(r)
	}
	// The queues are served again after the next activation. Marks belong to an era.
	m.unserved, m.marked, m.scans, m.reads = 0, compact.Queue[*contendedKey]{}, nil, compact.Queue[*pendingRead]{}
	m.busy = false
}

// Sweep forgets some of the callers of waiters that were attached before the last Detach, and of
// reads that were under way, and calls fn for each with the number of its newest send. It returns
// false if there are more.
func (m *Machine) Sweep(fn func(Ref, uint32)) (done bool) {
	left := StepEntries
	for ; m.unread.Len() > 0 && left > 0; left-- {
		m.touched++
		r := *m.unread.At(0)
		m.unread.Drop(1)
		fn(r.from, r.send)
	}
	for ; m.unswept > 0 && left > 0; left-- {
		m.touched++
		m.unswept = min(m.unswept, m.keys.extras.Last())
		if m.unswept == 0 {
			break
		}
		w := *m.keys.extras.At(uint32(m.unswept))
		m.unswept--
		if w == nil || w.era == m.era && m.active {
			continue
		}
		if w.ref.Caller != nil {
			fn(w.ref, w.send)
		}
		w.waiterState = waiterState{}
	}
	return !m.Unswept()
}

// Unswept reports whether Sweep has anything to do.
func (m *Machine) Unswept() bool { return m.unswept > 0 || m.unread.Len() > 0 }

// Broke tells the machine that the way to a caller broke. The caller need not be gone: its waiters
// may come back another way, so they settle for one period, as after an activation (Q5). It looks
// at some waiters with numbers up to upTo, the highest first, and returns the upTo of the next
// call, or 0 if it is done. The first call takes BrokeFrom.
func (m *Machine) Broke(now time.Duration, caller Caller, upTo int) (rest int) {
	if !m.active || m.waiters == 0 {
		return 0
	}
	upTo = min(upTo, m.keys.extras.Last())
	for left := StepEntries; upTo > 0 && left > 0; upTo-- {
		left--
		m.touched++
		w := *m.keys.extras.At(uint32(upTo))
		if w != nil && !w.claim.held() && w.era == m.era && w.ref.Caller == caller {
			m.note(w, func(w *waiterState) { w.ref, w.settles = Ref{}, now+rules.Period(w.ttl) })
		}
	}
	return upTo
}

// BrokeFrom returns the number with which Broke begins.
func (m *Machine) BrokeFrom() int { return m.keys.extras.Last() }

// Quarantine makes the partition grant nothing for d from now on (section 4.3). The caller has
// stretched d.
func (m *Machine) Quarantine(now, d time.Duration) {
	m.quarantine, m.beganLost = m.clip(now, now+min(d, ops.MaxSpan)), true
}

// Quarantined returns how long the quarantine still lasts, or 0 if there is none.
func (m *Machine) Quarantined(now time.Duration) time.Duration {
	return max(m.quarantineAt(now)-now, 0)
}

// BeganLost reports whether the state was lost and nothing was decided since.
func (m *Machine) BeganLost() bool { return m.beganLost && m.seq == 0 }

// InQuarantine reports whether the partition was in quarantine in the last turn.
func (m *Machine) InQuarantine() bool { return m.quarantine != 0 }

// quarantineAt returns the end of the quarantine, or 0 if it has ended by now.
func (m *Machine) quarantineAt(now time.Duration) time.Duration {
	return m.clip(now, m.quarantine)
}

func (m *Machine) clip(now, end time.Duration) time.Duration {
	if end == 0 || end <= now {
		return 0
	}
	return end
}
