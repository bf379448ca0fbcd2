package client

import (
	"context"
	"slices"
)

// Mutex is a key that is locked by one holder at a time, with the options to lock it by. Make
// one with [Client.Mutex]. It holds nothing itself and is safe for concurrent use; as with
// [Client.Acquire], locks are not reentrant.
type Mutex struct{ handle }

// RWMutex is a key that is locked by one writer, or by any number of readers. Make one with
// [Client.RWMutex]. It is safe for concurrent use.
type RWMutex struct{ handle }

// Semaphore is a key that is locked by a number of holders at a time. Make one with
// [Client.Semaphore]. It is safe for concurrent use.
type Semaphore struct{ handle }

// Mutex returns a mutex that is locked with these options.
func (c *Client) Mutex(key string, opts ...Option) *Mutex {
	return &Mutex{handle{c, key, slices.Clone(opts)}}
}

// RWMutex returns a read-write mutex that is locked with these options.
func (c *Client) RWMutex(key string, opts ...Option) *RWMutex {
	return &RWMutex{handle{c, key, slices.Clone(opts)}}
}

// Semaphore returns a semaphore of n holders that is locked with these options. All users of
// a key must agree on n: others fail with sharelock.ErrModeConflict.
func (c *Client) Semaphore(key string, n uint32, opts ...Option) *Semaphore {
	return &Semaphore{handle{c, key, append(slices.Clone(opts), Slots(n))}}
}

// handle is a key and its options.
type handle struct {
	c    *Client
	key  string
	opts []Option
}

// Key returns the key.
func (h *handle) Key() string { return h.key }

// Lock blocks until the key is locked for the caller, the wait is over, or ctx ends; see
// [Client.Acquire] for its errors.
func (h *handle) Lock(ctx context.Context) (*Lock, error) { return h.c.Acquire(ctx, h.key, h.opts...) }

// TryLock is Lock without waiting: it fails with sharelock.ErrLockHeld at once.
func (h *handle) TryLock(ctx context.Context) (*Lock, error) {
	return h.c.TryAcquire(ctx, h.key, h.opts...)
}

// RLock blocks until the key is locked for reading, together with other readers. A reader
// waits behind a writer that came before it.
func (m *RWMutex) RLock(ctx context.Context) (*Lock, error) {
	return m.c.Acquire(ctx, m.key, append(slices.Clone(m.opts), Shared())...)
}

// TryRLock is RLock without waiting: it fails with sharelock.ErrLockHeld at once.
func (m *RWMutex) TryRLock(ctx context.Context) (*Lock, error) {
	return m.c.TryAcquire(ctx, m.key, append(slices.Clone(m.opts), Shared())...)
}
