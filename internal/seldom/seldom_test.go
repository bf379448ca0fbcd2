package seldom

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

func TestAllow(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var l Log
		if !l.Allow("a") || l.Allow("a") || !l.Allow("b") {
			t.Error("want the first of a and of b, and no second")
		}
		time.Sleep(interval)
		if !l.Allow("a") {
			t.Error("a is silent after the interval")
		}
		for i := range 2 * maxKeys {
			l.Allow(fmt.Sprint(i))
		}
		if len(l.last) > maxKeys {
			t.Errorf("%d keys are kept", len(l.last))
		}
		time.Sleep(interval)
		if !l.Allow("c") || len(l.last) != 1 {
			t.Errorf("%d keys are kept after the interval", len(l.last))
		}
	})
}
