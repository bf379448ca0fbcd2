//go:build !linux

package client

import "time"

// systemClock is Go's monotonic clock. On systems where it stops during suspend,
// a machine that sleeps holding a lock must rely on the fencing token.
func systemClock() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
