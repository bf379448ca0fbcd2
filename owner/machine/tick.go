package machine

import (
	"time"

	"github.com/sgkandale/sharelock/owner/machine/finished"
)

// Tick does everything that is due: expiries, waits that are over, silent waiters, the end of
// settling and of a quarantine. On a copy that is not active it only forgets finished ids. What is
// too much for one step is left to the next.
func (m *Machine) Tick(now time.Duration, out *Out) {
	t := m.turn(now, out)
	t.tick()
	if m.active {
		t.goOn()
		// In a copy that is not active no claim has ended. Its claims must keep their numbers,
		// since it may be being prepared for an activation or read in pieces.
		t.tidy()
	}
}

// The parts of a step go on as long as the step has touched less than these limits, which leave
// room for the other parts: the sum stays below StepEntries and StepBytes. The largest request, a
// RenewMany, has room, too.
const (
	tickMost       = 200
	tickBytes      = 16 << 10
	serveStop      = 600
	serveStopBytes = 36 << 10
)

// tick does what is due before a request is handled.
func (t turn) tick() {
	m := t.m
	m.forget(t.now)
	if !m.active {
		return
	}
	if m.quarantine != 0 && m.quarantine <= t.now {
		m.quarantine = 0
		m.unserved = m.keys.extras.Last()
		m.busy = true
	}
	if m.busy {
		t.serveAfterQuarantine()
	}
	for t.within(tickMost, tickBytes) {
		left := tickMost / 4
		id := m.due.Over(t.now, &left, m.dueOf)
		m.touched += tickMost/4 - left
		if id == 0 {
			if left > 0 {
				break // nothing more is due
			}
			continue
		}
		m.touched++
		if c := m.keys.claims.At(id); c.held() {
			t.expire(c)
		} else {
			w := m.keys.extra(c)
			t.fresh(w)
			t.lookAt(w)
		}
	}
	if m.busy {
		t.serveMarked(tickMost, tickBytes)
		t.read()
	}
}

// goOn serves marked keys at the end of a turn.
func (t turn) goOn() {
	if m := t.m; m.busy {
		t.serveMarked(serveStop, serveStopBytes)
		m.busy = m.anyLeft()
	}
}

// serveAfterQuarantine serves some of the keys with waiters after a quarantine.
func (t turn) serveAfterQuarantine() {
	m := t.m
	m.unserved = min(m.unserved, m.keys.extras.Last())
	for ; m.unserved > 0 && t.within(tickMost, tickBytes); m.unserved-- {
		m.touched++
		if w := *m.keys.extras.At(uint32(m.unserved)); w != nil && !w.claim.held() && w.contended.waiters.first == w {
			t.serve(w.contended)
		}
	}
}

// Touched returns how many entries were touched since the last call, and how many bytes of keys,
// ids, metadata and messages.
func (m *Machine) Touched() (entries, size int) {
	entries, size = m.touched, m.handled
	m.touched, m.handled = 0, 0
	return entries, size
}

// forget drops request ids whose time is over.
func (m *Machine) forget(now time.Duration) {
	m.finished.Forget(now, tickMost/4, func(o finished.ID) {
		m.touched++
		m.forgotten(o)
	})
}

// Tidy frees a part of the memory that is unused after many claims have ended. It may only be
// called between turns, because claims move to lower numbers. Loops over claim numbers that do a
// part at a time go from the highest to the lowest, so that they miss no claim that moves.
func (m *Machine) Tidy() {
	if !m.keys.untidy() && !m.keys.sparse() {
		return
	}
	touched, size := m.keys.tidy(m.due.Renumber)
	m.due.Trim(m.keys.claims.Last())
	m.touched += touched
	m.handled += size
}

// Next returns when Tick has something to do; ok is false if never.
func (m *Machine) Next() (at time.Duration, ok bool) {
	if m.active {
		m.due.First(tickMost, m.dueOf)
	}
	return m.Look()
}

// Look returns when to ask Next again. That is no later than Next, but costs less to find.
func (m *Machine) Look() (at time.Duration, ok bool) {
	soonest := func(t time.Duration) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	if next := m.finished.Next(); next != finished.Never {
		soonest(next)
	}
	if m.active && (m.busy && (m.unserved > 0 || m.marked.Len() > 0 || m.reads.Len() > 0) || m.keys.untidy()) {
		soonest(0)
	}
	if m.active && m.quarantine != 0 {
		soonest(m.quarantine)
	}
	if m.active && m.due.Len() > 0 {
		soonest(m.due.Soonest())
	}
	return at, ok
}
