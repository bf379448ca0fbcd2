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
	// Each of queueKeys keys has a holder and queueLength waiters.
	queueKeys   = 12
	queueLength = 4
)

// queues are keys with waiters whose places were seen before the fault. At some moment during the
// fault the holder releases the lock.
type queues struct {
	rec  *record
	work sync.WaitGroup
	// ctx ends when the time for the waiters to end is over.
	ctx    context.Context //nolint:containedctx // the lifetime of the queues
	giveUp context.CancelFunc

	mu     sync.Mutex
	tokens [queueKeys][queueLength]sharelock.Token // what each waiter got; guarded by mu
	times  [queueKeys][queueLength]time.Time       // and when; guarded by mu
}

// newQueues returns when all waiters wait. The holders release at these times after the beginning of
// the fault, in turn.
func newQueues(r *rig, rec *record, release []time.Duration) *queues {
	r.t.Helper()
	q := &queues{rec: rec}
	q.ctx, q.giveUp = context.WithCancel(context.Background())
	var clients []*client.Client
	for i := range queueLength + 1 {
		clients = append(clients, r.client(i))
	}
	for k := range queueKeys {
		key := fmt.Sprintf("queue/%d", k)
		sent := time.Now()
		lock, err := clients[queueLength].Acquire(q.ctx, key)
		if err != nil {
			r.t.Fatal(err)
		}
		g := rec.acquired(fmt.Sprintf("client-%d", queueLength), key, sent, lock.Hold(), nil)
		q.work.Go(func() {
			<-r.begun
			rec.keep(g, lock, time.After(time.Until(r.began.Add(release[k%len(release)]))))
			rec.giveBack(q.ctx, g, lock)
		})
	}
	// All keys at once, one place after the other.
	for place := range queueLength {
		for k := range queueKeys {
			q.work.Go(func() { q.wait(clients[place], k, place) })
		}
		for k := range queueKeys {
			key := fmt.Sprintf("queue/%d", k)
			r.await("a waiter is in its place", 10*time.Second, func(ctx context.Context) bool {
				sent := time.Now()
				lock, err := clients[place].Get(ctx, key)
				if err != nil {
					return false
				}
				rec.read(fmt.Sprintf("client-%d", place), sent, lock)
				return lock.WaiterCount == place+1 && lock.Waiters[place].ClientID == fmt.Sprintf("client-%d", place)
			})
		}
	}
	return q
}

// wait runs one waiter.
func (q *queues) wait(c *client.Client, k, place int) {
	name, key := fmt.Sprintf("client-%d", place), fmt.Sprintf("queue/%d", k)
	sent := time.Now()
	lock, err := c.Acquire(q.ctx, key, client.Wait(10*time.Minute))
	if err != nil {
		q.rec.acquired(name, key, sent, holdOf(nil), err)
		return
	}
	g := q.rec.acquired(name, key, sent, holdOf(lock), nil)
	q.mu.Lock()
	q.tokens[k][place], q.times[k][place] = lock.Token(), time.Now()
	q.mu.Unlock()
	q.rec.keep(g, lock, time.After(holdTime))
	q.rec.giveBack(q.ctx, g, lock)
}

// end waits for all waiters and returns how many of them were granted before their turn, and which.
func (q *queues) end() (n int, which []string) {
	patience := time.AfterFunc(settleTime, q.giveUp)
	q.work.Wait()
	patience.Stop()
	q.giveUp()
	q.mu.Lock()
	defer q.mu.Unlock()
	for k, tokens := range q.tokens {
		if out := outOfOrder(tokens[:]); out > 0 {
			n += out
			line := fmt.Sprintf("queue/%d, in its order:", k)
			for place, t := range tokens {
				line += fmt.Sprintf(" %d/%d at %s", t.Epoch(), t.Counter(), q.times[k][place].Format(clock))
			}
			which = append(which, line)
		}
	}
	return n, which
}
