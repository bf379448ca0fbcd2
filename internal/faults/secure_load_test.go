package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
)

const (
	// lockHolders is how many locks are held during a rotation. pairWorkers workers each acquire and
	// release a lock every pairTime: 200 pairs per second.
	lockHolders = 300
	pairWorkers = 40
	pairTime    = 200 * time.Millisecond
	// rotationTTL is long enough for a busy machine.
	rotationTTL = 10 * time.Second
)

// innocents hold locks, and acquire and release others. They notice what a rotation costs.
type innocents struct {
	clients []*client.Client
	held    []*client.Lock
	stop    chan struct{}
	work    sync.WaitGroup
	pairs   atomic.Int64

	mu     sync.Mutex
	failed []string // guarded by mu
}

// newInnocents returns when all locks are held.
func newInnocents(t *testing.T, clients ...*client.Client) *innocents {
	t.Helper()
	in := &innocents{clients: clients, stop: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i := range lockHolders {
		lock, err := in.of(i).Acquire(ctx, fmt.Sprintf("held/%d", i), client.TTL(rotationTTL))
		if err != nil {
			t.Fatal(err)
		}
		in.held = append(in.held, lock)
	}
	for i := range pairWorkers {
		in.work.Go(func() { in.worker(i) })
	}
	return in
}

func (in *innocents) of(i int) *client.Client { return in.clients[i%len(in.clients)] }

func (in *innocents) worker(i int) {
	tick := time.NewTicker(pairTime)
	defer tick.Stop()
	for {
		select {
		case <-in.stop:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		lock, err := in.of(i).Acquire(ctx, fmt.Sprintf("load/%d", i), client.TTL(rotationTTL))
		if err == nil {
			err = lock.Release(ctx)
		}
		cancel()
		if in.pairs.Add(1); err != nil {
			in.mu.Lock()
			in.failed = append(in.failed, fmt.Sprintf("%s: %v", time.Now().Format(clock), err))
			in.mu.Unlock()
		}
	}
}

// check fails the test for every call that has failed so far, and every lock that was lost.
func (in *innocents) check(t *testing.T, after string) {
	t.Helper()
	in.mu.Lock()
	failed := in.failed
	in.failed = nil
	in.mu.Unlock()
	complain(t, "after "+after+": a call failed", failed)
	var lost []string
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i, l := range in.held {
		check, err := in.of(i).CheckToken(ctx, l.Key(), l.Token())
		if err = errors.Join(l.Err(), err); err != nil || !check.Current {
			lost = append(lost, fmt.Sprintf("%s: %v", l.Key(), err))
		}
	}
	complain(t, "after "+after+": a lock was lost", lost)
	t.Logf("after %s: %d pairs, %d failed; %d of %d locks lost", after, in.pairs.Load(), len(failed), len(lost), lockHolders)
}

// end stops the load and releases the locks.
func (in *innocents) end() {
	close(in.stop)
	in.work.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, l := range in.held {
		l.Release(ctx) //nolint:errcheck // check has looked at it
	}
}
