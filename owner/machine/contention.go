package machine

import (
	"time"

	"github.com/sgkandale/sharelock"
)

// maxContended bounds the keys that Contention looks at, so that a turn stays short in a partition
// of very many semaphores.
const maxContended = 4096

// Contention calls visit for keys of an active machine that somebody waits for, in any order.
func (m *Machine) Contention(now time.Duration, visit func(sharelock.Contention)) {
	seen := 0
	m.keys.contended.Each(func(ck *contendedKey) bool {
		if w := ck.waiters.first; w != nil {
			visit(sharelock.Contention{Key: ck.name, Holds: ck.holds.n, Waiters: ck.waiters.n, LongestWait: now - m.waitingOf(w).since})
		}
		m.touched++
		seen++
		return seen < maxContended
	})
}
