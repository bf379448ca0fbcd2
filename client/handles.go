package client

import (
	"context"
	"slices"
)

// Mutex is a key and the options to lock it by. Make one with [Client.Mutex], [Client.RWMutex] or
// [Client.Semaphore]. It holds nothing itself and is safe for concurrent use. As with
// [Client.Acquire], locks are not reentrant.
type Mutex struct {
	c    *Client
	key  string
	opts []Option
}

// Mutex returns a mutex that is locked with these options.
func (c *Client) Mutex(key string, opts ...Option) *Mutex {
	return &Mutex{c, key, slices.Clone(opts)}
}

// RWMutex returns a mutex that one writer locks with Lock, or any number of readers with RLock.
func (c *Client) RWMutex(key string, opts ...Option) *Mutex { return c.Mutex(key, opts...) }

// Semaphore returns a mutex with n holders at a time. All users of a key must agree on n: others fail
// with sharelock.ErrModeConflict. It is not for RLock.
func (c *Client) Semaphore(key string, n uint32, opts ...Option) *Mutex {
	return &Mutex{c, key, append(slices.Clone(opts), Slots(n))}
}

// Lock blocks until the key is locked for the caller, the wait is over, or ctx ends; see
// [Client.Acquire] for its errors.
func (m *Mutex) Lock(ctx context.Context) (*Lock, error) {
	return m.c.Acquire(ctx, m.key, m.opts...)
}

// TryLock is Lock without waiting: it fails with sharelock.ErrLockHeld at once.
func (m *Mutex) TryLock(ctx context.Context) (*Lock, error) {
	return m.c.TryAcquire(ctx, m.key, m.opts...)
}

// RLock blocks until the key is locked for reading, together with other readers. A reader waits
// behind a writer that came before it. With the option Wait(0) it fails with sharelock.ErrLockHeld at
// once.
func (m *Mutex) RLock(ctx context.Context) (*Lock, error) {
	return m.c.Acquire(ctx, m.key, append(slices.Clone(m.opts), Shared())...)
}
