// Package virtual runs tests in virtual time: in bubbles of testing/synctest, also under
// the race detector.
//
// With Go 1.26 the race detector may crash in a bubble, with SIGSEGV or "ThreadSanitizer: CHECK
// failed" (as in golang/go#78156). A goroutine that finds a timer's channel due runs that timer
// itself, with the detector's state of the bubble's timers, while the bubble runs other timers on
// another thread with the same state. On one thread this cannot happen. The detector uses the order
// that locks and channels give, not what happens to run at the same moment, so it still finds races;
// but on one thread a node has fewer shards, and fewer orders occur.
package virtual

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// Test is synctest.Test. Under the race detector it sets GOMAXPROCS to 1 meanwhile. Several may run
// at the same time.
func Test(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if raced {
		narrow()
		defer widen()
	}
	synctest.Test(t, f)
}

var (
	mu      sync.Mutex
	bubbles int // number of running bubbles; guarded by mu
	threads int // GOMAXPROCS before the first of them; guarded by mu
)

func narrow() {
	mu.Lock()
	defer mu.Unlock()
	if bubbles++; bubbles == 1 {
		threads = runtime.GOMAXPROCS(1)
	}
}

func widen() {
	mu.Lock()
	defer mu.Unlock()
	if bubbles--; bubbles == 0 {
		runtime.GOMAXPROCS(threads)
	}
}
