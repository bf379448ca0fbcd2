package mesh

import "time"

// MonotonicClock counts from now on. It stands still while the machine is
// suspended; inside a testing/synctest bubble it is the bubble's clock.
func MonotonicClock() Clock {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
