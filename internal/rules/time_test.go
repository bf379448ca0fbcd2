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
