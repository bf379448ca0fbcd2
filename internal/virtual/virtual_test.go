package virtual_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// Goroutines read tickers that are due while the bubble runs timers. In a plain bubble under the race
// detector, with two threads, this crashes within a second.
func TestDueTimers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for range 3 {
		virtual.Test(t, func(*testing.T) {
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					tick := time.NewTicker(time.Millisecond)
					defer tick.Stop()
					for range 300 {
						time.Sleep(time.Millisecond)
						select {
						case <-tick.C:
						default:
						}
					}
				})
				all.Go(func() {
					for range 300 {
						fired := make(chan struct{})
						time.AfterFunc(time.Millisecond, func() { close(fired) })
						<-fired
					}
				})
			}
			all.Wait()
		})
	}
}

// The number of threads is restored when no bubble runs any more.
func TestThreadsComeBack(t *testing.T) {
	before := runtime.GOMAXPROCS(3)
	defer runtime.GOMAXPROCS(before)
	t.Run("together", func(t *testing.T) {
		for range 4 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				virtual.Test(t, func(*testing.T) { time.Sleep(time.Minute) })
			})
		}
	})
	if got := runtime.GOMAXPROCS(0); got != 3 {
		t.Errorf("%d threads, want 3", got)
	}
}
