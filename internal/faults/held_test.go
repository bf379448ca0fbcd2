package faults

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
)

const (
	// heldKeys are held from before the fault until after it: enough that every node owns some. Every
	// second lock has a TTL that is short compared with the pause of a process.
	heldKeys = 32
	shortTTL = 10 * time.Second
	// sampleTime is how often holders check how long their locks are safe.
	sampleTime = 500 * time.Millisecond
)

// holders hold locks and let the client renew them.
type holders struct {
	rec   *record
	stop  chan struct{}
	work  sync.WaitGroup
	check *client.Client
}

func holdOf(l *client.Lock) sharelock.Hold {
	if l == nil {
		return sharelock.Hold{}
	}
	return l.Hold()
}

// newHolders returns when all locks are held.
func newHolders(r *rig, rec *record) *holders {
	r.t.Helper()
	h := &holders{rec: rec, stop: make(chan struct{}), check: r.client(0)}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	clients := []*client.Client{r.client(0), r.client(1), r.client(2)}
	for i := range heldKeys {
		c, key := i%len(clients), fmt.Sprintf("held/%d", i)
		var opts []client.Option
		if i%2 == 0 {
			opts = append(opts, client.TTL(shortTTL))
		}
		sent := time.Now()
		lock, err := clients[c].Acquire(ctx, key, opts...)
		if err != nil {
			r.t.Fatal(err)
		}
		g := rec.acquired(fmt.Sprintf("client-%d", c), key, sent, lock.Hold(), nil)
		h.work.Go(func() { h.hold(g, lock) })
	}
	return h
}

// hold observes one lock until the end, and then asks the mesh for it.
func (h *holders) hold(g *grant, lock *client.Lock) {
	tick := time.NewTicker(sampleTime)
	defer tick.Stop()
	before, safe := time.Now(), time.Time{}
	for {
		select {
		case <-lock.Done():
			h.rec.over(g, time.Now())
			h.rec.loss(g, lock.Err())
			return
		case <-h.stop:
			h.finish(g, lock)
			return
		case <-tick.C:
		}
		now := time.Now()
		until := now.Add(lock.Remaining())
		if after := time.Now(); after.Before(until) && until.Sub(safe) > sampleTime/2 {
			// It is safe for longer than before: a renewal was answered in between.
			if !safe.IsZero() {
				h.rec.renewed(g, before, after, until)
			}
			safe = until
		}
		before = now
	}
}

func (h *holders) finish(g *grant, lock *client.Lock) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	check, err := h.check.CheckToken(ctx, g.key, g.token)
	if err != nil || !check.Current {
		h.rec.loss(g, fmt.Errorf("its client holds it, but the mesh says %+v, %w", check, err))
	}
	h.rec.giveBack(ctx, g, lock)
}

// end asks the mesh for all locks and releases them.
func (h *holders) end() {
	close(h.stop)
	h.work.Wait()
}
