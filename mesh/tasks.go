package mesh

import "sync"

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
