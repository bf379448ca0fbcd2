package machine

import (
	"time"

	"github.com/sgkandale/sharelock"
)

// Contention calls visit for keys of an active machine that somebody waits for, in any order, in
// one step: it looks at the claims with the numbers up to upTo, the highest first, and returns
// what upTo is in the next call; 0 says that those were all. In the first call upTo is
// math.MaxInt. Claims move to lower numbers only, so that a waiter is not passed over.
func (m *Machine) Contention(now time.Duration, upTo int, visit func(sharelock.Contention)) (left int) {
	if m.keys.earliest == nil {
		return 0 // nobody waits
	}
	size := 0
	left = min(upTo, m.keys.claims.Last())
	for most := StepEntries; left > 0 && most > 0 && size < StepBytes-sharelock.MaxKeyBytes; left-- {
		most--
		m.touched++
		c := m.keys.claims.At(uint32(left))
		if c.id == 0 || c.held() || c.text != 0 {
			continue
		}
		ck := m.keys.extra(c).contended
		if w := ck.waiters.first; w == m.keys.extra(c) {
			visit(sharelock.Contention{Key: ck.name, Holds: ck.holds.n, Waiters: ck.waiters.n, LongestWait: now - m.waitingOf(w).since})
			size += len(ck.name)
		}
	}
	m.handled += size
	return left
}
