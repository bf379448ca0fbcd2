package client

import (
	"sync/atomic"
	"time"
)

// staleness is how far the time of a recent clock may be in the past while the machine runs.
const staleness = time.Millisecond

// recentClock returns a clock that is cheaper than clock, which is a system call: it reads clock only when
// staleness has passed by Go's monotonic clock. Its time may be in the past, by staleness and by the time that
// the machine was suspended. It is used where an earlier time is the safe one: for the moment of a send, from
// which the life of a lock counts (Q3).
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
