package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/mesh"
)

// usage is what a process uses, not counting connections: goroutines and reachable bytes (of
// connections only Raft's are large).
type usage struct {
	goroutines int
	heap       uint64
}

// connections counts connections by protocol.
//
// A Raft leader has one or two to each follower. The second is opened when a heartbeat happens to
// be due while entries are in flight, and is kept. That may happen before a crowd, during it, or
// never, and no crowd opens more. A node opens a gRPC connection to another node, or to itself,
// at its first call.
type connections struct{ raft, grpc int }

// What both ends of a connection use together. The library fixes the size of Raft's buffers.
const (
	raftGoroutines = 1
	raftBytes      = 2 * (256<<10 + 4<<10)
	grpcGoroutines = 9
)

func connected() connections {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return connections{
		raft: bytes.Count(stacks, []byte("raft.(*NetworkTransport).handleConn(")),
		grpc: bytes.Count(stacks, []byte("transport.(*http2Server).HandleStreams(")),
	}
}

func used() usage {
	for {
		c := connected()
		// Twice, because pools free what they hold only at the second collection.
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		goroutines := runtime.NumGoroutine()
		if c == connected() { // none was opened or closed meanwhile
			return usage{
				goroutines: goroutines - c.raft*raftGoroutines - c.grpc*grpcGoroutines,
				heap:       m.HeapAlloc - uint64(c.raft)*raftBytes,
			}
		}
	}
}

// back waits until the usage is what it was, within a few goroutines and room bytes. No other test
// may run at the same time.
func (before usage) back(ctx context.Context, t *testing.T, room uint64) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	patience := time.NewTimer(5 * time.Second)
	defer patience.Stop()
	for {
		now := used()
		if now.goroutines <= before.goroutines+8 && now.heap <= before.heap+room {
			t.Logf("before: %+v, after: %+v", before, now)
			return
		}
		select {
		case <-tick.C:
			continue
		case <-patience.C:
		case <-ctx.Done():
		}
		stacks := make([]byte, 16<<10)
		t.Fatalf("before: %+v, after: %+v, want at most 8 goroutines and %d bytes more\n%s",
			before, now, room, stacks[:runtime.Stack(stacks, true)])
	}
}

// TestWaiters lets 10,000 clients wait for one key, at all nodes, and give up at once.
func TestWaiters(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const crowd = 10_000 / slower
	// With the longest TTLs waiters are sent again only every two seconds (Q5).
	c := cluster.Start(t, cluster.Options{
		Timing: 2 * time.Second, MaxTTL: time.Minute,
		Configure: func(_ int, cfg *mesh.Config) { cfg.MaxWaitersPerKey = crowd },
	})
	ctx := limited(t)
	key := "wanted"
	first, err := c.Client(0).Acquire(ctx, key)
	must(t, err)
	var before usage
	for round := range 2 {
		waiting, giveUp := context.WithCancel(ctx)
		defer giveUp()
		var wg sync.WaitGroup
		outcomes := make([]error, crowd)
		for n := range crowd {
			wg.Go(func() {
				r := sharelock.AcquireRequest{Key: key, ClientID: fmt.Sprint("c", n), Wait: time.Minute}
				_, outcomes[n] = c.Node(n%3).Acquire(waiting, r)
			})
		}
		waitQueue(ctx, t, c, 1, key, crowd)
		_, err = c.Node(2).Acquire(ctx, sharelock.AcquireRequest{Key: key, ClientID: "late", Wait: time.Minute})
		if !errors.Is(err, sharelock.ErrTooManyWaiters) {
			t.Errorf("one more waiter: %v, want too many", err)
		}
		begin := time.Now()
		giveUp()
		wg.Wait()
		for n, err := range outcomes {
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("waiter %d: %v, want it to be cancelled", n, err)
			}
		}
		waitQueue(ctx, t, c, 1, key, 0)
		t.Logf("all were gone %v after they gave up", time.Since(begin))
		must(t, c.Check())
		if round == 0 {
			// The first crowd leaves buffers that the second reuses.
			before = used()
			continue
		}
		// What remains for 90 s are the ids that were sent more than once (Q2).
		before.back(ctx, t, crowd*512)
	}
	must(t, first.Release(ctx))
}

// Test100kKeys holds 100,000 keys at once and releases them.
func Test100kKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const keys, workers = 100_000 / slower, 256
	c := cluster.Start(t, cluster.Options{Timing: 2 * time.Second, MaxTTL: time.Minute})
	ctx := limited(t)
	tokens := make([]sharelock.Token, keys)
	each := func(what string, f func(n int) error) {
		begin := time.Now()
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for n := w; n < keys; n += workers {
					if err := f(n); err != nil {
						t.Errorf("%s %d: %v", what, n, err)
						return
					}
				}
			})
		}
		wg.Wait()
		took := time.Since(begin)
		t.Logf("%s of %d keys took %v, %v each", what, keys, took, took/keys)
	}
	acquire := func(n int) error {
		h, err := c.Node(n%3).Acquire(ctx, sharelock.AcquireRequest{Key: fmt.Sprint("key/", n), ClientID: "c"})
		tokens[n] = h.Token
		return err
	}
	release := func(n int) error {
		_, err := c.Node((n+1)%3).Release(ctx, fmt.Sprint("key/", n), tokens[n], true)
		return err
	}
	for n := range 100 { // so that every node has sent something to every other
		must(t, acquire(n))
		must(t, release(n))
	}
	before := used()
	each("acquire", acquire)
	held := used()
	t.Logf("a key that is held takes %d bytes", (held.heap-before.heap)/keys)
	if held.goroutines > before.goroutines+8 {
		t.Errorf("%d goroutines with %d keys held, %d before", held.goroutines, keys, before.goroutines)
	}
	must(t, c.Check())
	each("release", release)
	page, err := c.Client(0).List(ctx, sharelock.ListRequest{})
	must(t, err)
	if len(page.Locks) > 0 {
		t.Errorf("keys that remain: %+v", page.Locks)
	}
	before.back(ctx, t, 16<<20)
}
