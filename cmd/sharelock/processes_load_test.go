//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/linear"
)

// load acquires and releases locks at a steady rate through all nodes, and checks that no key has
// two holders and that tokens grow.
type load struct {
	t       *testing.T
	stop    chan struct{}
	wg      sync.WaitGroup
	calls   atomic.Int64
	clients []*client.Client
	ttl     time.Duration

	mu     sync.Mutex
	tokens map[string]sharelock.Token // the largest seen; guarded by mu
	holder map[string]time.Time       // until when a client may hold the key; guarded by mu
	done   map[string][]time.Time     // the times of the key's grants; guarded by mu
	failed []string                   // guarded by mu
	// history holds every call, to check that some order explains all answers. began is when the history
	// began. Guarded by mu.
	history []linear.Call
	began   time.Time
}

const loadKeys = 64

func loadKey(i int) string { return fmt.Sprintf("load/%d", i) }

// newLoad makes rate acquires a second. tolerate says which errors are not failures.
func newLoad(t *testing.T, rate int, ttl time.Duration, clients []*client.Client, tolerate func(error) bool) *load {
	l := &load{
		t: t, stop: make(chan struct{}), clients: clients, ttl: ttl,
		tokens: map[string]sharelock.Token{}, holder: map[string]time.Time{}, done: map[string][]time.Time{},
		began: time.Now(),
	}
	free := make(chan int, loadKeys)
	for _, k := range rand.Perm(loadKeys) {
		free <- k
	}
	l.wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-l.stop:
				return
			case <-tick.C:
			}
			select {
			case k := <-free: // a key that is stuck does not delay the others
				l.wg.Go(func() {
					defer func() { free <- k }()
					if err := l.once(clients[n%len(clients)], loadKey(k)); err != nil && !tolerate(err) {
						l.fail("%s: %v", loadKey(k), err)
					}
				})
			default:
			}
		}
	})
	return l
}

func (l *load) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// once acquires a lock and releases it.
func (l *load) once(c *client.Client, key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	l.calls.Add(1)
	sent := time.Now()
	who := fmt.Sprint(l.calls.Load(), "/", key)
	acquired := l.note(linear.Call{Key: key, Client: who, Op: linear.Acquire, Start: sent, Outcome: linear.Unknown})
	lock, err := c.Acquire(ctx, key, client.TTL(l.ttl), client.Wait(50*time.Second))
	if err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	l.answered(acquired, func(c *linear.Call) { c.Token, c.SafeUntil = lock.Token(), sent.Add(l.ttl) })
	l.granted(key, lock.Token(), sent)
	l.mu.Lock()
	delete(l.holder, key) // released from here on
	l.mu.Unlock()
	released := l.note(linear.Call{Key: key, Client: who, Op: linear.Release, Start: time.Now(), Token: lock.Token(), Outcome: linear.Unknown})
	if err := lock.Release(ctx); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	l.answered(released, func(*linear.Call) {})
	return nil
}

// note records a call that is sent, whose outcome is unknown until it is answered.
func (l *load) note(c linear.Call) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history = append(l.history, c)
	return len(l.history) - 1
}

// answered records that a call succeeded.
func (l *load) answered(i int, more func(c *linear.Call)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.history[i]
	c.End, c.Outcome = time.Now(), linear.OK
	more(c)
}

func (l *load) granted(key string, token sharelock.Token, sent time.Time) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if until, held := l.holder[key]; held && now.Before(until) {
		l.failed = append(l.failed, fmt.Sprintf("%s: granted while another holds it for %v", key, until.Sub(now)))
	}
	if token <= l.tokens[key] {
		l.failed = append(l.failed, fmt.Sprintf("%s: token %d after %d", key, token, l.tokens[key]))
	}
	l.tokens[key] = token
	l.holder[key] = sent.Add(l.ttl)
	l.done[key] = append(l.done[key], now)
}

// end stops the load and reports failures.
func (l *load) end() {
	l.t.Helper()
	close(l.stop)
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range l.failed {
		if i < 10 {
			l.t.Error(f)
		}
	}
	// In some of these tests state may be lost.
	if err := linear.Check(l.history, l.began); err != nil {
		l.t.Error(err)
	}
	l.t.Logf("%d acquire/release pairs, %d failed", l.calls.Load(), len(l.failed))
}

// gap returns the longest time without a grant of one of the keys since begin.
func (l *load) gap(begin time.Time, in func(key string) bool) (longest time.Duration, key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, times := range l.done {
		if !in(k) {
			continue
		}
		sort.Slice(times, func(i, j int) bool { return times[i].Before(times[j]) })
		last := begin
		for _, at := range times {
			if at.Before(begin) {
				last = at
				continue
			}
			if d := at.Sub(last); d > longest {
				longest, key = d, k
			}
			last = at
		}
	}
	return longest, key
}

// since reports whether every key that is in has been granted after a time.
func (l *load) since(at time.Time, in func(key string) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range loadKeys {
		if !in(loadKey(i)) {
			continue
		}
		times := l.done[loadKey(i)]
		if !slices.ContainsFunc(times, at.Before) {
			return false
		}
	}
	return true
}

// any reports whether a key that is in has been granted after a time.
func (l *load) any(at time.Time, in func(key string) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, times := range l.done {
		if in(key) && slices.ContainsFunc(times, at.Before) {
			return true
		}
	}
	return false
}

// every selects every key.
func every(string) bool { return true }

// never tolerates no error.
func never(error) bool { return false }

// longTTL is longer than a pause of a busy machine.
const longTTL = 30 * time.Second

// queue is a set of clients that wait for one key, one behind the other.
type queue struct {
	t     *testing.T
	first *client.Lock
	order chan int
	ended sync.WaitGroup
	n     int
}

// newQueue acquires a key and lets five clients wait for it, each at another node.
func newQueue(r *rehearsal, key string, clients []*client.Client) *queue {
	r.t.Helper()
	ctx := context.Background()
	q := &queue{t: r.t, n: 5, order: make(chan int, 5)}
	var err error
	if q.first, err = clients[0].Acquire(ctx, key, client.TTL(longTTL)); err != nil {
		r.t.Fatal(err)
	}
	for i := range q.n {
		q.ended.Go(func() {
			l, err := clients[i%len(clients)].Acquire(ctx, key, client.TTL(longTTL), client.Wait(time.Minute))
			if err != nil {
				q.t.Errorf("number %d in line: %v", i, err)
				return
			}
			q.order <- i
			if err := l.Release(ctx); err != nil {
				q.t.Errorf("number %d in line: %v", i, err)
			}
		})
		r.await("the next is in line", 5*time.Second, func() bool {
			l, err := clients[0].Get(ctx, key)
			return err == nil && len(l.Waiters) == i+1
		})
	}
	return q
}

// end releases the key and fails the test if the waiters do not get it in order.
func (q *queue) end() {
	q.t.Helper()
	if err := q.first.Release(context.Background()); err != nil {
		q.t.Errorf("the first in line: %v", err)
	}
	q.ended.Wait()
	close(q.order)
	want := 0
	for got := range q.order {
		if got != want {
			q.t.Errorf("number %d in line was granted %s as the next, want number %d", got, q.first.Key(), want)
		}
		want++
	}
}
