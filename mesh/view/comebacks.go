package view

import (
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// Memory is what a process remembers from one of its leaderships to the next. The zero
// value is empty. One leadership at a time uses it.
type Memory struct {
	// comebacks are those of processes that were removed without having left.
	comebacks map[place]comeback
	// handedOver is when leadership was last handed over for want of voters (V5).
	handedOver handOver
	// yielded is when leadership was last handed over because this process was chosen or
	// marked itself (V6a).
	yielded handOver
}

// handOver is when something was done last, if it was done.
type handOver struct {
	done bool
	at   time.Duration
}

// due reports whether it was not done within a time.
func (h handOver) due(now, within time.Duration) bool { return !h.done || now-h.at >= within }

// place is a process at an address. Two processes with one id are at two places if a data
// directory was copied: the comings and goings of one do not keep the other out.
type place struct{ id, peer string }

func placeOf(m ring.Member) place { return place{m.ID, m.Peer} }

// comeback counts how often in a row a process was removed soon after its admission (V3).
type comeback struct {
	times int
	// removed and admitted are when that happened last. in is true while the process is a
	// member.
	removed, admitted time.Duration
	in                bool
}

// calmAfter is the least time for which a process must have stayed in before its earlier
// removals are forgotten.
const calmAfter = time.Minute

// forgetAfter bounds how long a process that does not come back is remembered.
const forgetAfter = time.Hour

// maxDoublings bounds the back-off: 64 leases.
const maxDoublings = 8

// backOff is how long after its last removal a process that keeps coming and going is
// admitted again (V3). The first comeback is free.
func (c comeback) backOff(lease time.Duration) time.Duration {
	if c.times <= 1 {
		return 0
	}
	return lease / 4 << min(c.times, maxDoublings)
}

// comebackOf returns what is remembered of a process. At an address that is new it is taken
// for the one with its id that was removed last: processes may change their addresses.
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

// noteRemoval counts a removal of a process that did not leave in good order. Earlier ones
// are forgotten if it had stayed in for longer than its last back-off. How long the
// back-off has kept it out does not matter (V3).
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

// backOffLeft returns for how long a process is still kept out because it keeps coming and
// going.
func (m *Memory) backOffLeft(p place, now, lease time.Duration) time.Duration {
	c, _ := m.comebackOf(p)
	return max(c.removed+c.backOff(lease)-now, 0)
}

// mayReturn reports whether the back-off of a process, if it has one, is over.
func (m *Memory) mayReturn(p place, now, lease time.Duration) bool {
	return m.backOffLeft(p, now, lease) == 0
}
