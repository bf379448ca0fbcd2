package api

import (
	"context"
	"sync"
	"time"
)

// deadlineJitter is the maximum time between the caller and this node seeing the same deadline
// pass: the jitter of one message.
const deadlineJitter = 50 * time.Millisecond

// deadlineContext distinguishes a call whose deadline has passed from a call that was cancelled.
// The difference decides whether a waiter loses its place.
//
// A gRPC client whose deadline passes resets the stream, and the reset races with the server's own
// timer for the same deadline: usually the server sees a cancellation. So if the parent is
// cancelled less than [deadlineJitter] before its deadline, or after it, this context ends with
// DeadlineExceeded. It is a context of its own and not a wrapper that rewrites Err, because
// contexts derived from a wrapper would take their error directly from the parent.
type deadlineContext struct {
	context.Context // for Deadline and Value

	done chan struct{}
	mu   sync.Mutex // guards err, which is set once, before done is closed
	err  error
}

// withDeadlineError returns a deadlineContext for parent, or parent itself if it has no deadline.
// The caller must call the returned function.
func withDeadlineError(parent context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := parent.Deadline()
	if !ok {
		return parent, func() {}
	}
	c := &deadlineContext{Context: parent, done: make(chan struct{})}
	stop := context.AfterFunc(parent, func() {
		err := parent.Err()
		if time.Until(deadline) <= deadlineJitter {
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

// Done returns a channel that is closed when the call ends.
func (c *deadlineContext) Done() <-chan struct{} { return c.done }

// Err returns nil until Done is closed.
func (c *deadlineContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
