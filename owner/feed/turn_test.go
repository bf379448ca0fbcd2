package feed

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// Visits come one at a time. After the burst the rests take as long as the visits.
func TestTurn(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		begin := time.Now()
		turn := NewTurn(func() time.Duration { return time.Since(begin) })
		const readers, visits, work = 10, 50, 200 * time.Microsecond
		var inside atomic.Int32
		var all sync.WaitGroup
		for range readers {
			all.Go(func() {
				for range visits {
					turn.Visit(t.Context(), func() {
						if n := inside.Add(1); n > 1 {
							t.Errorf("%d visits at once", n)
						}
						time.Sleep(work) // what a visit takes
						inside.Add(-1)
					})
				}
			})
		}
		all.Wait()
		worked := readers * visits * work
		if took, want := time.Since(begin), 2*worked-(readBurst-readPiece); took != want {
			t.Errorf("%v of work took %v, want %v", worked, took, want)
		}
	})
}

// A reader whose context has ended does not wait for its turn, and takes no turn of another.
func TestTurnOfWhoHasGone(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		turn := NewTurn(func() time.Duration { return 0 })
		gone, cancel := context.WithCancel(t.Context())
		turn.Visit(t.Context(), func() {
			cancel()
			if turn.Visit(gone, func() { t.Error("a visit beside another") }) {
				t.Error("a visit was made although its context had ended")
			}
		})
		if !turn.Visit(t.Context(), func() {}) {
			t.Error("the turn was lost")
		}
	})
}
