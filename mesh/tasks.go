package mesh

import (
	"sync"
	"sync/atomic"
)

// tasks are the goroutines of a node that are started on demand. Unlike a bare
// WaitGroup it may be asked to start one while somebody waits for the end. The
// zero value is ready.
type tasks struct {
	mu     sync.Mutex
	closed bool // guarded by mu
	wg     sync.WaitGroup
}

// Go starts fn, or returns false when the node is stopping.
func (t *tasks) Go(fn func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Go(fn)
	return true
}

// close takes no more and waits for those that run.
func (t *tasks) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.wg.Wait()
}

// room bounds how many of something are under way. The zero value is empty.
type room struct{ n atomic.Int32 }

// enter takes a place, or returns false when that many are taken.
func (r *room) enter(most int32) bool {
	if r.n.Add(1) <= most {
		return true
	}
	r.n.Add(-1)
	return false
}

// leave gives a place back.
func (r *room) leave() { r.n.Add(-1) }
