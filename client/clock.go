package client

import (
	"sync/atomic"
	"time"
)

// staleness is how far the time of a recent clock may lie behind.
const staleness = time.Millisecond

// recentClock makes a clock that is cheaper than clock, which is a call of the
// system: it reads it again only when staleness has passed by Go's own. So its time may
// lie behind, by the time that the machine was suspended, too. It serves where earlier
// is the safe side: as the moment of a send, from which a lock's life counts (Q3).
func recentClock(clock func() time.Duration) func() time.Duration {
	type reading struct{ own, time time.Duration }
	start := time.Now()
	var last atomic.Pointer[reading]
	return func() time.Duration {
		own := time.Since(start)
		r := last.Load()
		if r == nil || own-r.own >= staleness {
			// own was read first, so the reading is never younger than it seems.
			r = &reading{own: own, time: clock()}
			last.Store(r)
		}
		return r.time
	}
}
