package view

import (
	"time"

	"github.com/sgkandale/sharelock/owner/mutant"
)

// Memory is what a process remembers from one of its leaderships to the next. The zero
// value is empty. One leadership at a time uses it.
type Memory struct {
	// comebacks are those of processes that were removed without having left, by id.
	comebacks map[string]comeback
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

// noteRemoval counts a removal of a process that did not leave in good order. Earlier ones
// are forgotten if it had stayed in for longer than its last back-off. How long the
// back-off has kept it out does not matter (V3).
func (m *Memory) noteRemoval(id string, now, lease time.Duration) {
	c := m.comebacks[id]
	calm := c.in && now-c.admitted > max(c.backOff(lease), calmAfter)
	if mutant.On(mutant.ForgetBackOff) {
		calm = now-c.removed > calmAfter
	}
	if calm {
		c.times = 0
	}
	c.times++
	c.in, c.removed = false, now
	if m.comebacks == nil {
		m.comebacks = map[string]comeback{}
	}
	m.comebacks[id] = c
}

// noteMembers notes which processes are members, and forgets those that have stayed away
// for longer than forgetAfter.
func (m *Memory) noteMembers(now time.Duration, in func(id string) bool) {
	for id, c := range m.comebacks {
		switch is := in(id); {
		case is && !c.in:
			c.in, c.admitted = true, now
			m.comebacks[id] = c
		case !is && now-c.removed > forgetAfter:
			delete(m.comebacks, id)
		}
	}
}

// mayReturn reports whether the back-off of a process, if it has one, is over.
func (m *Memory) mayReturn(id string, now, lease time.Duration) bool {
	c := m.comebacks[id]
	return now-c.removed >= c.backOff(lease) || mutant.On(mutant.NoBackOff)
}
