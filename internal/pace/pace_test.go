package pace_test

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/pace"
)

// Work that is done rarely causes no pauses. Work that is done all the time is slowed down by its cost.
func TestSpend(t *testing.T) {
	p := pace.Pace{Credit: 10 * time.Millisecond}
	now := time.Unix(1, 0)
	spend := func(cost, want time.Duration) {
		t.Helper()
		if got := p.Spend(now, cost); got != want {
			t.Errorf("rests for %v, want %v", got, want)
		}
	}
	spend(5*time.Millisecond, 0)
	spend(5*time.Millisecond, 0)
	spend(5*time.Millisecond, 5*time.Millisecond)
	now = now.Add(5 * time.Millisecond)
	spend(5*time.Millisecond, 5*time.Millisecond)
	now = now.Add(time.Second)
	spend(10*time.Millisecond, 0)
	spend(time.Millisecond, time.Millisecond)
	for range 3 {
		spend(time.Millisecond, time.Millisecond) // without the pauses
	}
}
