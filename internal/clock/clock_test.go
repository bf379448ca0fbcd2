package clock

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// TestClocks: in a bubble the system's clock follows real time, and the monotonic clock the bubble's.
func TestClocks(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		system, monotonic := System(), Monotonic()
		systemStart := system()
		time.Sleep(time.Hour)
		if got := monotonic(); got != time.Hour {
			t.Errorf("the monotonic clock went on by %v, want an hour", got)
		}
		if got := system() - systemStart; got < 0 || got > time.Minute {
			t.Errorf("the system's clock went on by %v in a virtual hour", got)
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
