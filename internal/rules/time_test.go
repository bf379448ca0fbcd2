package rules

import (
	"testing"
	"time"
)

func TestStretch(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{0: 0, 1: 2, 10: 11, 11: 13, 10 * time.Second: 11 * time.Second} {
		if got := Stretch(d); got != want {
			t.Errorf("Stretch(%d) is %d, want %d", d, got, want)
		}
	}
}

// A shrunk time is the longest that is not over by any clock.
func TestShrink(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 9, 10, 11, time.Second, time.Minute + 1, 24 * time.Hour} {
		if got := Shrink(d); 11*got > 10*d || 11*got <= 10*d-11 {
			t.Errorf("%v is shrunk to %v", d, got)
		}
	}
}
