package clock

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// machine has the clocks of a machine.
type machine struct {
	mono, slept, wall time.Duration // wall is by how much the wall clock was set
	// pause is for how long each reading is interrupted.
	pause time.Duration
	boots int // how often CLOCK_BOOTTIME was read
	// broken: the wall clock and the monotonic clock cannot be told apart.
	broken bool
}

func (m *machine) read() (wall, mono time.Duration, ok bool) {
	wall = m.mono + m.slept + m.wall
	m.mono += m.pause
	if m.broken {
		return wall, wall, false
	}
	return wall, m.mono, true
}

func (m *machine) boot() time.Duration {
	m.boots++
	m.mono += m.pause
	return m.mono + m.slept
}

func (m *machine) suspend(d time.Duration) { m.slept += d }

// The clock counts suspended time, whatever is done to the wall clock, and reads CLOCK_BOOTTIME only
// when it has to.
func TestBootClock(t *testing.T) {
	m := &machine{mono: 5 * time.Second, slept: time.Hour, wall: 50 * 365 * 24 * time.Hour}
	c := newBootClock(m.read, m.boot)
	want := func(what string, boots int) {
		t.Helper()
		if got := c.now(); got != m.mono+m.slept {
			t.Errorf("%s: the clock shows %v, want %v", what, got, m.mono+m.slept)
		}
		if m.boots != boots {
			t.Errorf("%s: CLOCK_BOOTTIME was read %d times, want %d", what, m.boots, boots)
		}
		m.boots = 0
	}
	want("at first", 1)
	m.mono += time.Minute
	want("a minute later", 0)
	m.suspend(2 * time.Millisecond)
	want("suspended for two milliseconds", 1)
	m.suspend(24 * time.Hour)
	want("suspended for a day", 1)
	want("and again", 0)
	m.wall -= 24 * time.Hour
	want("the wall clock was set back", 1)
	m.wall += time.Second
	want("it was set forward", 1)
	m.wall -= time.Hour
	m.suspend(time.Hour + 2*time.Millisecond)
	want("suspended while it was set back", 1)
	m.mono += time.Millisecond
	want("a millisecond later", 0)
}

// If a process is interrupted while it measures, its clock is late by at most the interruption. It
// never shows a time that has not come, and never goes back.
func TestBootClockInterrupted(t *testing.T) {
	m := &machine{mono: time.Second, slept: time.Hour}
	c := newBootClock(m.read, m.boot)
	last := c.now()
	for i := range 100 {
		m.pause = time.Duration(i%3) * time.Millisecond
		if i%10 == 9 {
			m.suspend(time.Second)
		}
		before := m.mono + m.slept
		now := c.now()
		if after := m.mono + m.slept; now > after {
			t.Fatalf("the clock shows %v, but it is %v at most", now, after)
		}
		if now < before-2*time.Millisecond {
			t.Fatalf("the clock shows %v, but it is %v at least, and no interruption was longer than 2ms", now, before)
		}
		if now < last {
			t.Fatalf("the clock went back from %v to %v", last, now)
		}
		last = now
	}
}

// If the clocks cannot be told apart, at first or later, the clock reads CLOCK_BOOTTIME for good. It
// neither jumps nor goes back.
func TestBootClockWithBrokenWallClock(t *testing.T) {
	for _, first := range []bool{true, false} {
		m := &machine{mono: time.Second, slept: time.Hour, broken: first}
		c := newBootClock(m.read, m.boot)
		check := func(what string) {
			t.Helper()
			if got := c.now(); got != m.mono+m.slept {
				t.Errorf("%s: the clock shows %v, want %v", what, got, m.mono+m.slept)
			}
		}
		check("at first")
		m.broken, m.wall = true, 174*365*24*time.Hour
		check("the wall clock shows the year 2200")
		m.mono += time.Second
		check("a second later")
		m.broken, m.wall = false, 0
		check("it was set right")
		m.suspend(time.Hour)
		check("suspended for an hour")
	}
	m := &machine{mono: time.Second, pause: 500 * time.Microsecond}
	c := newBootClock(m.read, m.boot) // is late by the pause
	m.pause, m.broken = 0, true
	before := c.now()
	m.broken = false
	if after := c.now(); after < before {
		t.Errorf("the clock went back from %v to %v", before, after)
	}
	for year, want := range map[int]bool{1800: false, 1886: false, 1970: true, 2026: true, 2150: true, 2157: false, 2200: false} {
		if got := told(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)); got != want {
			t.Errorf("in %d the clocks can be told apart: %t, want %t", year, got, want)
		}
	}
}

// What was measured without an interruption is kept.
func TestBootClockKeepsItsBestOffset(t *testing.T) {
	m := &machine{mono: time.Second, slept: time.Hour}
	c := newBootClock(m.read, m.boot)
	m.wall += time.Hour
	m.pause = 500 * time.Microsecond
	c.now() // measures
	m.pause = 0
	if got := c.now(); got != m.mono+m.slept {
		t.Errorf("the clock shows %v, want %v", got, m.mono+m.slept)
	}
}

// Goroutines that notice a suspension at the same time measure once.
func TestBootClockFromSeveralGoroutines(t *testing.T) {
	const n = 8
	var mu sync.Mutex
	m, reads := &machine{}, 0
	locked := func(fn func()) {
		mu.Lock()
		defer mu.Unlock()
		fn()
	}
	c := newBootClock(func() (wall, mono time.Duration, ok bool) {
		locked(func() {
			wall, mono, ok = m.read()
			reads++
		})
		return wall, mono, ok
	}, func() (t time.Duration) {
		locked(func() { t = m.boot() })
		return t
	})
	locked(func() {
		m.suspend(time.Hour)
		reads, m.boots = 0, 0
	})
	c.mu.Lock() // as if another goroutine measured
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if got := c.now(); got != time.Hour {
				t.Errorf("the clock shows %v, want an hour", got)
			}
		})
	}
	for noticed := false; !noticed; runtime.Gosched() {
		locked(func() { noticed = reads == n })
	}
	c.mu.Unlock()
	wg.Wait()
	if m.boots != 1 {
		t.Errorf("CLOCK_BOOTTIME was read %d times, want once", m.boots)
	}
}
