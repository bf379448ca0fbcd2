package clock

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// Both clocks follow the bubble's time, and outside of a bubble the system's does not go back.
func TestClocks(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		system, monotonic := System(), Monotonic()
		systemStart := system()
		time.Sleep(time.Hour)
		if got := monotonic(); got != time.Hour {
			t.Errorf("the monotonic clock went on by %v, want an hour", got)
		}
		if got := system() - systemStart; got != time.Hour {
			t.Errorf("the system's clock went on by %v, want an hour", got)
		}
	})
	clock := System()
	for last, end := clock(), time.Now().Add(5*time.Millisecond); time.Now().Before(end); {
		now := clock()
		if now < last {
			t.Fatalf("the clock went back from %v to %v", last, now)
		}
		last = now
	}
}
