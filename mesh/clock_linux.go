package mesh

import (
	"time"

	"golang.org/x/sys/unix"
)

// SystemClock counts suspended time too: CLOCK_BOOTTIME (protocol, assumptions).
func SystemClock() Clock {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// A sandbox that does not let it through.
		return MonotonicClock()
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
