package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// System returns a clock that counts suspended time too: CLOCK_BOOTTIME (protocol, assumptions).
// Go's own monotonic clock stops while the machine is suspended.
func System() func() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Only a kernel older than 2.6.39 or a sandbox refuses, and does so every time.
		return Monotonic()
	}
	return func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			// It worked a moment ago, and without it no deadline can be kept.
			panic("read CLOCK_BOOTTIME: " + err.Error())
		}
		return time.Duration(ts.Nano())
	}
}
