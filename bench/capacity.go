package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/workload"
)

const (
	// holders is the number of clients that hold the locks.
	holders = 100
	// atOnce is the number of acquires in flight while many locks are acquired.
	atOnce = 2048
	// settle is the pause between the end of a change and a measurement of memory or processor
	// time, in which garbage is collected and connections become idle.
	settle = 10 * time.Second
	// longTTL is longer than a run, so such locks need no renewals.
	longTTL = 24 * time.Hour
	// keepTTL is the default maximum TTL, and the TTL of the locks that are kept alive.
	keepTTL = time.Minute
	// bystanders is the number of locks that are kept alive while idle sessions are opened.
	bystanders = 1000
	// idleAtOnce is the number of idle sessions that are opened concurrently.
	idleAtOnce = 100
)

// capacity is the cost of large numbers of locks, sessions and keys.
type capacity struct {
	Nodes int `json:"nodes"`
	// Held is the number of locks, Copies the number of their copies, and BytesPerCopy the
	// growth of the memory of all nodes per copy.
	Held         int     `json:"held"`
	Copies       int     `json:"copies"`
	BytesPerCopy float64 `json:"bytesPerCopy"`
	// KeepAlive is the processor time of all nodes while the clients keep the locks alive, in
	// percent of one processor. Lost is the number of locks that were lost.
	KeepAlive float64 `json:"keepAliveCPUPercent"`
	Lost      int     `json:"lost"`
	// Sessions is the number of sessions without a lock, and BytesPerSession the growth of the
	// node's memory per session. Only measured with one node.
	Sessions        int     `json:"idleSessions,omitempty"`
	BytesPerSession float64 `json:"bytesPerIdleSession,omitempty"`
	// LostMeanwhile is the number of locks of another client, out of bystanders, that were lost
	// while the sessions connected.
	LostMeanwhile int `json:"lostWhileConnecting,omitempty"`
	// EmptyPairs and FullPairs are the pairs per second of 64 workers on an empty node, and on
	// a node that has seen Seen keys, most of which are free again, and has Held locks. Only
	// measured with one node.
	Seen       int     `json:"seen,omitempty"`
	EmptyPairs float64 `json:"emptyPairsPerSecond,omitempty"`
	FullPairs  float64 `json:"fullPairsPerSecond,omitempty"`
}

// sizes are the numbers of locks, keys and sessions to measure with.
type sizes struct {
	held, seen, sessions int
	keep                 time.Duration
}

// capacity measures a mesh of some nodes.
func (c *comparison) capacity(ctx context.Context, nodes int, n sizes) (*capacity, error) {
	res := &capacity{Nodes: nodes, Held: n.held, Copies: min(nodes, 2)}
	patient := system{start: func(ctx context.Context, b binaries, dir string) (*service, error) {
		return startSharelock(ctx, b, dir, nodes, "SHARELOCK_LOCKS__MAX_TTL="+longTTL.String())
	}}
	if err := c.with(ctx, patient, func(s *service) error { return c.growth(ctx, s, n, res) }); err != nil {
		return nil, fmt.Errorf("many locks: %w", err)
	}
	if err := c.with(ctx, sharelock(nodes), func(s *service) error { return c.keepAlive(ctx, s, n, res) }); err != nil {
		return nil, fmt.Errorf("locks kept alive: %w", err)
	}
	if nodes > 1 {
		return res, nil
	}
	if err := c.with(ctx, sharelock(nodes), func(s *service) error { return c.idle(ctx, s, n, res) }); err != nil {
		return nil, fmt.Errorf("idle sessions: %w", err)
	}
	return res, nil
}

// growth fills a mesh and compares it with the empty mesh.
func (c *comparison) growth(ctx context.Context, s *service, n sizes, res *capacity) error {
	rate := func() (float64, error) {
		r, err := c.measure(ctx, s, load{load64, workload.Options{Workers: 64}})
		if err != nil {
			return 0, err
		}
		return r.PairsPerSecond, nil
	}
	var err error
	if res.EmptyPairs, err = rate(); err != nil {
		return err
	}
	before, err := s.quietRSS(ctx)
	if err != nil {
		return err
	}
	clients, closing, err := s.clients(ctx)
	if err != nil {
		return err
	}
	defer closing()
	c.say("%s: taking %d locks", sharelock(res.Nodes).name, n.held)
	err = many(ctx, n.held, func(ctx context.Context, i int) error {
		_, err := clients[i%len(clients)].Acquire(ctx, fmt.Sprintf("held/%d", i), client.TTL(longTTL), client.NoRenew())
		return err
	})
	if err != nil {
		return err
	}
	after, err := s.quietRSS(ctx)
	if err != nil {
		return err
	}
	res.BytesPerCopy = float64(after-before) / float64(n.held*res.Copies)
	c.say("%s: %.0f MB before, %.0f MB with %d locks held: %.0f bytes for each lock and copy", sharelock(res.Nodes).name,
		float64(before)/1e6, float64(after)/1e6, n.held, res.BytesPerCopy)
	if res.Nodes > 1 {
		res.EmptyPairs = 0
		return nil
	}
	res.Seen = n.seen
	c.say("%s: taking and releasing %d more", sharelock(res.Nodes).name, n.seen-n.held)
	err = many(ctx, n.seen-n.held, func(ctx context.Context, i int) error {
		l, err := clients[i%len(clients)].Acquire(ctx, fmt.Sprintf("seen/%d", i), client.TTL(lockTTL), client.NoRenew())
		if err != nil {
			return err
		}
		return l.Release(ctx)
	})
	if err != nil {
		return err
	}
	if res.FullPairs, err = rate(); err != nil {
		return err
	}
	c.say("%s: %.0f pairs/s when empty, %.0f with %d keys seen and %d held", sharelock(res.Nodes).name, res.EmptyPairs, res.FullPairs, n.seen, n.held)
	return nil
}

// keepAlive measures the cost of keeping many locks alive.
func (c *comparison) keepAlive(ctx context.Context, s *service, n sizes, res *capacity) error {
	clients, closing, err := s.clients(ctx)
	if err != nil {
		return err
	}
	defer closing()
	c.say("%s: taking %d locks to keep", sharelock(res.Nodes).name, n.held)
	locks := make([]*client.Lock, n.held)
	err = many(ctx, n.held, func(ctx context.Context, i int) (err error) {
		locks[i], err = clients[i%len(clients)].Acquire(ctx, fmt.Sprintf("kept/%d", i), client.TTL(keepTTL))
		return err
	})
	if err != nil {
		return err
	}
	// After this all locks are attached to sessions, which happens at the first renewal.
	if err := wait(ctx, keepTTL/2); err != nil {
		return err
	}
	before, err := s.cpu()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := wait(ctx, n.keep); err != nil {
		return err
	}
	after, err := s.cpu()
	if err != nil {
		return err
	}
	res.KeepAlive = 100 * float64(after-before) / float64(time.Since(start))
	res.Lost = lost(locks)
	c.say("%s: %d locks kept by %d clients: %.1f %% of a processor, %d lost", sharelock(res.Nodes).name, n.held, len(clients), res.KeepAlive, res.Lost)
	return nil
}

// idle measures the memory of idle sessions, and whether clients with locks are affected while all
// idle sessions connect.
func (c *comparison) idle(ctx context.Context, s *service, n sizes, res *capacity) error {
	other, err := client.Dial(ctx, s.addrs, client.Options{})
	if err != nil {
		return err
	}
	defer closeAll([]*client.Client{other})
	held := make([]*client.Lock, bystanders)
	err = many(ctx, bystanders, func(ctx context.Context, i int) (err error) {
		held[i], err = other.Acquire(ctx, fmt.Sprintf("bystander/%d", i), client.TTL(lockTTL))
		return err
	})
	if err != nil {
		return err
	}
	before, err := s.quietRSS(ctx)
	if err != nil {
		return err
	}
	clients := make([]*client.Client, n.sessions)
	defer func() { closeAll(clients) }()
	var next atomic.Int64
	err = parallel(ctx, idleAtOnce, func(ctx context.Context) error {
		for i := int(next.Add(1)) - 1; i < n.sessions; i = int(next.Add(1)) - 1 {
			var err error
			if clients[i], err = client.Dial(ctx, s.addrs, client.Options{}); err != nil {
				return err
			}
			// The first lock opens the session.
			l, err := clients[i].Acquire(ctx, fmt.Sprintf("idle/%d", i))
			if err != nil {
				return err
			}
			if err := l.Release(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	after, err := s.quietRSS(ctx)
	if err != nil {
		return err
	}
	res.Sessions, res.BytesPerSession = n.sessions, float64(after-before)/float64(n.sessions)
	res.LostMeanwhile = lost(held)
	c.say("%s: %d idle sessions: %.0f kB each; %d of %d locks lost meanwhile", sharelock(res.Nodes).name, n.sessions,
		res.BytesPerSession/1e3, res.LostMeanwhile, bystanders)
	return nil
}

// lost returns the number of locks that their holders have lost.
func lost(locks []*client.Lock) (n int) {
	for _, l := range locks {
		if l.Err() != nil {
			n++
		}
	}
	return n
}

// quietRSS returns the memory after the settle time.
func (s *service) quietRSS(ctx context.Context) (int64, error) {
	if err := wait(ctx, settle); err != nil {
		return 0, err
	}
	return s.rss()
}

// clients makes the clients that will hold many locks.
func (s *service) clients(ctx context.Context) (clients []*client.Client, closing func(), err error) {
	for range holders {
		c, err := client.Dial(ctx, s.addrs, client.Options{})
		if err != nil {
			closeAll(clients)
			return nil, nil, err
		}
		clients = append(clients, c)
	}
	return clients, func() { closeAll(clients) }, nil
}

// closeAll closes clients. Their locks end with the mesh. It also collects their garbage, so that
// this does not happen in the next measurement.
func closeAll(clients []*client.Client) {
	var work sync.WaitGroup
	for _, c := range clients {
		if c != nil {
			work.Go(func() { _ = c.Close() })
		}
	}
	work.Wait()
	runtime.GC()
}

// many calls a function n times, with atOnce calls in parallel.
func many(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	var next atomic.Int64
	return parallel(ctx, min(atOnce, n), func(ctx context.Context) error {
		for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
			if err := do(ctx, int(i)); err != nil {
				return err
			}
		}
		return nil
	})
}

// parallel runs a function several times in parallel. The first error ends all of them.
func parallel(ctx context.Context, times int, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var work sync.WaitGroup
	for range times {
		work.Go(func() {
			if err := do(ctx); err != nil {
				cancel(err)
			}
		})
	}
	work.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// wait waits for some time, or until the context ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), context.Cause(ctx))
	}
}
