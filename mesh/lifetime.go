package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
)

// lifetime is what a node needs to begin and to end: a context that ends with it, the goroutines that
// are waited for, the steps of stopping in their order, and why it ended by itself.
type lifetime struct {
	// ctx ends when the node stops; stopping is its Done channel.
	ctx      context.Context //nolint:containedctx // the lifetime of the node
	cancel   context.CancelFunc
	stopping <-chan struct{}
	tasks    tasks

	mu       sync.Mutex // guards what follows
	cleanups []cleanup
	err      error

	// done is closed when the node ended by itself.
	done  chan struct{}
	ended sync.Once
}

// cleanup is one named step of stopping; the last one registered runs first.
type cleanup struct {
	name string
	fn   func() error
}

// begin makes the zero value ready.
func (l *lifetime) begin() {
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.stopping = l.ctx.Done()
	l.done = make(chan struct{})
}

// onClose registers a step of stopping.
func (l *lifetime) onClose(name string, fn func() error) {
	l.mu.Lock()
	l.cleanups = append(l.cleanups, cleanup{name, fn})
	l.mu.Unlock()
}

// serve runs a server until it ends; ending before the node stops ends the node.
func (l *lifetime) serve(what string, fn func() error) {
	l.tasks.Go(func() {
		err := fn()
		if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) && l.ctx.Err() == nil {
			l.end(fmt.Errorf("%s server: %w", what, err))
		}
	})
}

// Done is closed when the node ended by itself: it left the mesh, or could not
// go on (see Err). It still wants a Stop or Kill.
func (l *lifetime) Done() <-chan struct{} { return l.done }

// Err is why the node ended by itself; nil while it runs, and if it left.
func (l *lifetime) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// end ends the node by itself. Only the first reason counts.
func (l *lifetime) end(err error) {
	l.ended.Do(func() {
		l.mu.Lock()
		l.err = err
		l.mu.Unlock()
		close(l.done)
	})
}

// cleanUp runs the steps that onClose has registered, the last one first.
func (l *lifetime) cleanUp() error {
	var errs []error
	for {
		l.mu.Lock()
		if len(l.cleanups) == 0 {
			l.mu.Unlock()
			return errors.Join(errs...)
		}
		c := l.cleanups[len(l.cleanups)-1]
		l.cleanups = l.cleanups[:len(l.cleanups)-1]
		l.mu.Unlock()
		if err := c.fn(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", c.name, err))
		}
	}
}
