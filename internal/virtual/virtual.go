// Package virtual runs tests in virtual time: in bubbles of testing/synctest, also under
// the race detector.
//
// With Go 1.26 a bubble may crash there, inside the detector, with SIGSEGV or
// "ThreadSanitizer: CHECK failed" (as in golang/go#78156): a goroutine that finds a
// timer's channel due runs that timer itself, with the detector's state of the bubble's
// timers, while the bubble runs others on another thread with the same state. On one
// thread there is no "while". The detector goes by the order that locks and channels give,
// not by what happens to run at the same moment; still, on one thread a node has fewer
// shards, and fewer orders come up.
package virtual

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// Test is synctest.Test; under the race detector GOMAXPROCS is 1 meanwhile. Several may
// run at once.
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
	bubbles int // that run; guarded by mu
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
