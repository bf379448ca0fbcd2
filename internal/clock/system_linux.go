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
	return newBootClock(func() (wall, mono time.Duration, ok bool) {
		now := time.Now()
		return time.Duration(now.UnixNano()), now.Sub(start), told(start) && told(now)
	}, readBoottime).now
}

// told reports whether a [time.Time] of time.Now has a reading of the monotonic clock beside that of
// the wall clock. Go leaves it out if the wall clock shows a year before 1885 or after 2156, as a
// broken one may; then Sub returns the difference of the wall clocks.
func told(t time.Time) bool {
	const since, until = -2_600_000_000, 5_800_000_000 // 1887 and 2153
	return since < t.Unix() && t.Unix() < until
}

func readBoottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// It worked before, and without it no deadline can be kept.
		panic("read CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(ts.Nano())
}
