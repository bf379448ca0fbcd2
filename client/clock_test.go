package client

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// A recent clock never runs ahead, lies at most staleness behind, and is not read
// more often than that.
func TestRecentClock(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		start, reads := time.Now(), 0
		exact := func() time.Duration { return time.Since(start) }
		recent := recentClock(func() time.Duration { reads++; return exact() })
		const step = staleness / 4
		for range 100 {
			if now, got := exact(), recent(); got > now || got <= now-staleness {
				t.Fatalf("at %v it says %v", now, got)
			}
			time.Sleep(step)
		}
		if want := int(100 * step / staleness); reads != want {
			t.Errorf("the clock was read %d times, want %d", reads, want)
		}
	})
}
