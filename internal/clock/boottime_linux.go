package clock

import (
	"sync"
	"sync/atomic"
	"time"
)

// bootClock is CLOCK_BOOTTIME, computed from clocks that are cheaper to read. Linux lets a process
// read the wall clock and the monotonic clock without a system call, and Go does so; reading
// CLOCK_BOOTTIME in Go is a system call, which costs as much as serving a small request.
//
// CLOCK_BOOTTIME differs from the monotonic clock by the time for which the machine was suspended.
// When the machine resumes, the kernel adds the same time to CLOCK_BOOTTIME and to the wall clock,
// in one step. So as long as the difference between the wall clock and the monotonic clock is
// the same, that between CLOCK_BOOTTIME and the monotonic clock is the same, too. If it changes,
// because the machine was suspended or somebody has set the wall clock, bootClock reads
// CLOCK_BOOTTIME.
//
// A suspension between the two readings of one call is not noticed by this call. Its result is that
// of a call before the suspension.
type bootClock struct {
	// read returns the wall clock and the monotonic clock, or false if they cannot be told apart.
	// boot returns CLOCK_BOOTTIME.
	read func() (wall, mono time.Duration, ok bool)
	boot func() time.Duration

	// offsets is nil once read has returned false: then every call reads CLOCK_BOOTTIME, for good,
	// which is never behind what was computed.
	offsets atomic.Pointer[offsets]
	mu      sync.Mutex // held while new offsets are measured
}

// offsets are by how much the wall clock and CLOCK_BOOTTIME are ahead of the monotonic clock.
type offsets struct{ wall, boot time.Duration }

// sameOffset is the greatest change of the wall clock's offset that may be due to a pause between
// two readings. No suspension is as short.
const sameOffset = time.Millisecond

// newBootClock returns a clock that reads these clocks.
func newBootClock(read func() (wall, mono time.Duration, ok bool), boot func() time.Duration) *bootClock {
	c := &bootClock{read: read, boot: boot}
	c.measure()
	return c
}

// now returns the time.
func (c *bootClock) now() time.Duration {
	if t, ok := c.known(); ok {
		return t
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.known(); ok {
		return t // another goroutine has measured
	}
	return c.measure()
}

// known returns the time if the offsets are still the same.
func (c *bootClock) known() (t time.Duration, ok bool) {
	o := c.offsets.Load()
	if o == nil {
		return c.boot(), true
	}
	wall, mono, ok := c.read()
	if !ok {
		c.offsets.Store(nil)
		return c.boot(), true
	}
	d := wall - mono - o.wall
	return mono + o.boot, -sameOffset <= d && d <= sameOffset
}

// The number of attempts to measure the offsets, and the time within which an attempt has to read
// all clocks to be the last one.
const (
	attempts = 10
	atOnce   = 5 * time.Microsecond
)

// measure measures the offsets and returns the time. Of several attempts it takes the one that was
// paused least between its readings. The offset of CLOCK_BOOTTIME is never measured too great and
// never falls, so the clock does not go back. It needs c.mu, but for the first call.
func (c *bootClock) measure() time.Duration {
	old := c.offsets.Load()
	var best offsets
	var last time.Duration
	least := time.Duration(-1)
	for range attempts {
		wall, before, ok := c.read()
		boot := c.boot()
		_, after, still := c.read()
		if !ok || !still {
			c.offsets.Store(nil)
			return c.boot()
		}
		last = after
		if took := after - before; least < 0 || took < least {
			least, best = took, offsets{wall: wall - before, boot: boot - after}
		}
		if least <= atOnce {
			break
		}
	}
	if old != nil {
		best.boot = max(best.boot, old.boot)
	}
	if !c.offsets.CompareAndSwap(old, &best) {
		return c.boot() // another goroutine could not tell the clocks apart
	}
	return last + best.boot
}
