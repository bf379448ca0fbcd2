package view

import (
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// Memory is what a process remembers from one of its leaderships to the next. The zero value is
// empty. Only one leadership at a time uses it.
type Memory struct {
	// comebacks are the records of processes that were removed without having left.
	comebacks map[place]comeback
	// handedOver is when leadership was last handed over because too few voters were heard (V5).
	handedOver handOver
	// yielded is when leadership was last handed over because this process itself was chosen or
	// marked (V6a).
	yielded handOver
}

// handOver is the time of the last hand-over of a kind; done is false if there was none.
type handOver struct {
	done bool
	at   time.Duration
}

// due reports whether there was no hand-over within the given time before now.
func (h handOver) due(now, within time.Duration) bool { return !h.done || now-h.at >= within }

// place is a process at an address. If a data directory was copied, two processes have one id but
// two places, so that the back-off of one does not keep the other out.
type place struct{ id, peer string }

func placeOf(m ring.Member) place { return place{m.ID, m.Peer} }

// comeback counts how often in a row a process was removed soon after its admission (V3).
type comeback struct {
	times int
	// removed and admitted are the times of the last removal and admission. in is true while the
	// process is a member.
	removed, admitted time.Duration
	in                bool
}

// calmAfter is the minimum time for which a process must have been a member before its earlier
// removals are forgotten.
const calmAfter = time.Minute

// forgetAfter bounds how long a process that does not come back is remembered.
const forgetAfter = time.Hour

// maxDoublings bounds the back-off: 64 leases.
const maxDoublings = 8

// backOff returns for how long after its last removal a process is kept out (V3). There is no
// back-off before the first comeback.
func (c comeback) backOff(lease time.Duration) time.Duration {
	if c.times <= 1 {
		return 0
	}
	return lease / 4 << min(c.times, maxDoublings)
}

// comebackOf returns the record of a process. A process at a new address gets the record of the
// process with its id that was removed last, because processes may change their addresses.
func (m *Memory) comebackOf(p place) (c comeback, known bool) {
	if c, known = m.comebacks[p]; known {
		return c, true
	}
	for other, o := range m.comebacks {
		if other.id == p.id && (!known || o.removed > c.removed) {
			c, known = o, true
		}
	}
	c.in = false
	return c, known
}

// noteRemoval counts a removal of a process that did not leave in good order. Earlier removals are
// forgotten if it had been a member for longer than its last back-off and than calmAfter. The time
// for which it was kept out does not count (V3).
func (m *Memory) noteRemoval(p place, now, lease time.Duration) {
	c, _ := m.comebackOf(p)
	calm := c.in && now-c.admitted > max(c.backOff(lease), calmAfter)
	if calm {
		c.times = 0
	}
	c.times++
	c.in, c.removed = false, now
	if m.comebacks == nil {
		m.comebacks = map[place]comeback{}
	}
	m.comebacks[p] = c
}

// noteMembers notes which processes are members, and forgets those that have stayed away
// for longer than forgetAfter.
func (m *Memory) noteMembers(now time.Duration, members []ring.Member) {
	if len(m.comebacks) == 0 {
		return
	}
	in := make(map[place]bool, len(members))
	for _, member := range members {
		p := placeOf(member)
		in[p] = true
		if c, known := m.comebackOf(p); known && !c.in {
			c.in, c.admitted = true, now
			m.comebacks[p] = c
		}
	}
	for p, c := range m.comebacks {
		if !in[p] && now-c.removed > forgetAfter {
			delete(m.comebacks, p)
		}
	}
}

// backOffLeft returns for how much longer the back-off keeps a process out.
func (m *Memory) backOffLeft(p place, now, lease time.Duration) time.Duration {
	c, _ := m.comebackOf(p)
	return max(c.removed+c.backOff(lease)-now, 0)
}

// mayReturn reports whether the back-off of a process, if it has one, is over.
func (m *Memory) mayReturn(p place, now, lease time.Duration) bool {
	return m.backOffLeft(p, now, lease) == 0
}
