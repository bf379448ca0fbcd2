package api

import (
	"context"
	"sync"
	"time"
)

// deadlineSlack is how far apart the caller's clock and ours may see the same
// deadline: the jitter of one message's way.
const deadlineSlack = 50 * time.Millisecond

// deadlineContext tells a call that ran out of its time from one that was
// cancelled, which decides whether a waiter loses its place.
//
// A gRPC client whose deadline ends resets the stream, and the reset races with
// the server's own timer for the same deadline: the server mostly sees a
// cancellation. So a parent that is cancelled within [deadlineSlack] of its
// deadline, or after it, ends this context with DeadlineExceeded. It is a context
// of its own, not a wrapper that rewrites Err: contexts derived from a wrapper
// would take their error from the parent behind its back.
type deadlineContext struct {
	context.Context // for Deadline and Value

	done chan struct{}
	mu   sync.Mutex // guards err, which is set once, before done is closed
	err  error
}

// withDeadlineError returns such a context for parent, or parent itself if it
// has no deadline. The caller must call the function that comes with it.
func withDeadlineError(parent context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := parent.Deadline()
	if !ok {
		return parent, func() {}
	}
	c := &deadlineContext{Context: parent, done: make(chan struct{})}
	stop := context.AfterFunc(parent, func() {
		err := parent.Err()
		if time.Until(deadline) <= deadlineSlack {
			err = context.DeadlineExceeded
		}
		c.end(err)
	})
	return c, func() {
		stop()
		c.end(context.Canceled)
	}
}

func (c *deadlineContext) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.done)
	}
}

// Done is closed when the call ended.
func (c *deadlineContext) Done() <-chan struct{} { return c.done }

// Err is nil until Done is closed.
func (c *deadlineContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
