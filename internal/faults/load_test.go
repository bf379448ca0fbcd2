package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/client"
)

const (
	// Two workers want each of loadKeys keys all the time: each key is granted several times a second,
	// and every grant can be wrong.
	loadKeys = 40
	// holdTime is how long a worker keeps its lock, and restTime how long it pauses afterwards.
	holdTime = 20 * time.Millisecond
	restTime = 400 * time.Millisecond
	// loadWait is how long a worker waits in the queue: longer than a fault lasts.
	loadWait = 100 * time.Second
	// settleTime is how long calls in flight may take at the end.
	settleTime = 20 * time.Second
)

func loadKey(i int) string { return fmt.Sprintf("load/%d", i) }

func isLoad(key string) bool { return len(key) > 5 && key[:5] == "load/" }

// load acquires and releases locks until it ends.
type load struct {
	rec  *record
	stop chan struct{}
	work sync.WaitGroup
	// ctx ends when the time for the calls that are in flight at the end is over.
	ctx    context.Context //nolint:containedctx // the lifetime of the load
	giveUp context.CancelFunc
}

func newLoad(r *rig, rec *record) *load {
	l := &load{rec: rec, stop: make(chan struct{})}
	l.ctx, l.giveUp = context.WithCancel(context.Background())
	var clients []*client.Client
	for i := range r.nodes {
		clients = append(clients, r.client(i))
	}
	for i := range 2 * loadKeys {
		l.work.Go(func() {
			// The two workers of a key are of different clients.
			name := i % len(clients)
			if i >= loadKeys {
				name = (i + 1) % len(clients)
			}
			l.worker(clients[name], fmt.Sprintf("client-%d", name), loadKey(i%loadKeys), time.Duration(i)*restTime/(2*loadKeys))
		})
	}
	return l
}

// worker acquires a key repeatedly. The first pause spreads the workers.
func (l *load) worker(c *client.Client, name, key string, first time.Duration) {
	rest := time.NewTimer(first)
	defer rest.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-rest.C:
		}
		l.once(c, name, key)
		rest.Reset(restTime)
	}
}

// once acquires a lock, with the default TTL, and releases it.
func (l *load) once(c *client.Client, name, key string) {
	sent := time.Now()
	lock, err := c.Acquire(l.ctx, key, client.Wait(loadWait))
	if err != nil {
		l.rec.acquired(name, key, sent, holdOf(nil), err)
		return
	}
	g := l.rec.acquired(name, key, sent, holdOf(lock), nil)
	l.rec.keep(g, lock, time.After(holdTime))
	l.rec.giveBack(l.ctx, g, lock)
}

// end stops the load. Calls in flight end or fail.
func (l *load) end() {
	close(l.stop)
	patience := time.AfterFunc(settleTime, l.giveUp)
	l.work.Wait()
	patience.Stop()
	l.giveUp()
}

// keep holds a lock until the end. If the lock is lost before, that is recorded.
func (r *record) keep(g *grant, lock *client.Lock, end <-chan time.Time) {
	select {
	case <-lock.Done():
		r.over(g, time.Now())
	case <-end:
	}
}

// giveBack releases a lock. A lock that was lost before is a loss, not a failure.
func (r *record) giveBack(ctx context.Context, g *grant, lock *client.Lock) {
	sent := time.Now()
	err := lock.Release(ctx)
	if errors.Is(err, client.ErrLost) {
		r.loss(g, err)
		r.released(g, sent, nil)
		return
	}
	r.released(g, sent, err)
}
