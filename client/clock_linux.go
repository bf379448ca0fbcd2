package client

import (
	"time"

	"golang.org/x/sys/unix"
)

// systemClock reads CLOCK_BOOTTIME: Go's own monotonic clock stops while the
// machine is suspended, and the owner's does not (protocol, assumptions).
func systemClock() func() time.Duration {
	start := time.Now()
	return func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			// Only a kernel older than 2.6.39 or a sandbox says no, and says so
			// every time.
			return time.Since(start)
		}
		return time.Duration(ts.Nano())
	}
}
