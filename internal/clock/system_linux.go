package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// System returns a clock that counts suspended time too: CLOCK_BOOTTIME (protocol, assumptions).
// Go's own monotonic clock stops while the machine is suspended. In a testing/synctest bubble it
// starts at the machine's CLOCK_BOOTTIME and follows the bubble's time. It may be read from several
// goroutines.
func System() func() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Only a kernel older than 2.6.39 or a sandbox refuses, and does so every time.
		return Monotonic()
	}
	start := time.Now()
	return newBootClock(func() (wall, mono time.Duration) {
		now := time.Now()
		return time.Duration(now.UnixNano()), now.Sub(start)
	}, readBoottime).now
}

func readBoottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// It worked before, and without it no deadline can be kept.
		panic("read CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(ts.Nano())
}
