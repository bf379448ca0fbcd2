package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
)

// load takes and gives back locks at a steady rate through all nodes, and watches
// that nobody is granted twice and that tokens grow.
type load struct {
	t       *testing.T
	stop    chan struct{}
	wg      sync.WaitGroup
	calls   atomic.Int64
	clients []*client.Client

	mu     sync.Mutex
	tokens map[string]sharelock.Token // the largest seen; guarded by mu
	holder map[string]time.Time       // until when somebody may hold the key; guarded by mu
	done   map[string][]time.Time     // when a grant of the key came; guarded by mu
	failed []string                   // guarded by mu
}

const loadKeys = 64

func loadKey(i int) string { return fmt.Sprintf("load/%d", i) }

// newLoad runs rate acquires a second. tolerate says which errors are no failure.
func newLoad(t *testing.T, rate int, clients []*client.Client, tolerate func(error) bool) *load {
	l := &load{
		t: t, stop: make(chan struct{}), clients: clients,
		tokens: map[string]sharelock.Token{}, holder: map[string]time.Time{}, done: map[string][]time.Time{},
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
			case k := <-free: // a key that is stuck does not hold up the others
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

// once takes a lock and gives it back.
func (l *load) once(c *client.Client, key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	l.calls.Add(1)
	sent := time.Now()
	lock, err := c.Acquire(ctx, key, client.TTL(2*time.Second), client.Wait(50*time.Second))
	if err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	l.granted(key, lock.Token(), sent)
	l.mu.Lock()
	delete(l.holder, key) // given back from here on
	l.mu.Unlock()
	if err := lock.Release(ctx); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
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
	l.holder[key] = sent.Add(2 * time.Second)
	l.done[key] = append(l.done[key], now)
}

// end stops the load and reports.
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
	l.t.Logf("%d acquire/release pairs, %d failed", l.calls.Load(), len(l.failed))
}

// gap is the longest time without a grant of one of the keys since begin.
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

// closeAll closes clients.
func closeAll(clients []*client.Client) {
	for _, c := range clients {
		c.Close() //nolint:errcheck // what it holds ends with its TTL
	}
}

// holdThirty takes locks that are held and renewed while everything else changes.
func holdThirty(t *testing.T, clients []*client.Client, ttl time.Duration) []*client.Lock {
	t.Helper()
	var held []*client.Lock
	for i := range 30 {
		l, err := clients[i%len(clients)].Acquire(context.Background(), fmt.Sprintf("held/%d", i), client.TTL(ttl))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l)
	}
	return held
}
