package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
)

// grant is one success of a load.
type grant struct {
	key   string
	epoch uint32
	at    time.Time
}

// load acquires and releases keys, one worker for each key, at a fixed rate, until it is stopped. Every
// worker has a client of its own that uses another node when one fails.
type load struct {
	stopped chan struct{}
	workers sync.WaitGroup

	mu     sync.Mutex
	grants []grant // ordered by time
	failed []error
	// news is closed and replaced at every grant.
	news chan struct{}
}

func startLoad(ctx context.Context, t *testing.T, c *cluster.Cluster, keys []string, pause time.Duration) *load {
	t.Helper()
	l := &load{stopped: make(chan struct{}), news: make(chan struct{})}
	for i, key := range keys {
		var nodes []int
		for n := range c.Len() {
			nodes = append(nodes, (i+n)%c.Len())
		}
		cl, err := c.Dial(ctx, client.Options{ClientID: fmt.Sprintf("worker-%d", i)}, nodes...)
		must(t, err)
		l.workers.Go(func() { l.work(ctx, cl, key, c.MaxTTL(), pause) })
	}
	return l
}

func (l *load) work(ctx context.Context, cl *client.Client, key string, ttl, pause time.Duration) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		lock, err := cl.Acquire(ctx, key, client.TTL(ttl))
		if err == nil {
			l.add(grant{key: key, epoch: lock.Token().Epoch(), at: time.Now()}, nil)
			err = lock.Release(ctx)
		}
		if err != nil {
			l.add(grant{}, err)
		}
		select {
		case <-tick.C:
		case <-l.stopped:
			return
		}
	}
}

func (l *load) add(g grant, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, err)
		return
	}
	l.grants = append(l.grants, g)
	close(l.news)
	l.news = make(chan struct{})
}

// since returns the grants after a time, and a channel that is closed at the next grant.
func (l *load) since(at time.Time) ([]grant, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.grants, func(g grant) bool { return g.at.After(at) })
	if i < 0 {
		return nil, l.news
	}
	return slices.Clone(l.grants[i:]), l.news
}

// await waits until the grants after a time satisfy ok.
func (l *load) await(ctx context.Context, t *testing.T, at time.Time, what string, ok func([]grant) bool) {
	t.Helper()
	for {
		grants, news := l.since(at)
		if ok(grants) {
			return
		}
		select {
		case <-news:
		case <-ctx.Done():
			t.Fatalf("wait for %s: %v, after %d grants", what, context.Cause(ctx), len(grants))
		}
	}
}

// keepOn waits until every key has been granted once more.
func (l *load) keepOn(ctx context.Context, t *testing.T, keys []string) {
	t.Helper()
	l.await(ctx, t, time.Now(), "a grant of every key", func(grants []grant) bool {
		seen := map[string]bool{}
		for _, g := range grants {
			seen[g.key] = true
		}
		return len(seen) == len(keys)
	})
}

// stop ends the load, and fails the test for every call that failed with an error that is not allowed.
func (l *load) stop(t *testing.T, allowed ...error) []grant {
	t.Helper()
	close(l.stopped)
	l.workers.Wait()
	l.failed = slices.DeleteFunc(l.failed, func(err error) bool {
		return slices.ContainsFunc(allowed, func(a error) bool { return errors.Is(err, a) })
	})
	for _, err := range l.failed[:min(len(l.failed), 5)] {
		t.Errorf("a call of the load failed: %v", err)
	}
	t.Logf("load: %d grants, %d calls failed", len(l.grants), len(l.failed))
	return l.grants
}

// longestGap returns the longest time between two grants of one of these keys.
func longestGap(grants []grant, keys []string, from, to time.Time) (gap time.Duration, of string) {
	for _, key := range keys {
		last := from
		for _, g := range grants {
			if g.key != key || g.at.Before(from) {
				continue
			}
			if d := g.at.Sub(last); d > gap {
				gap, of = d, key
			}
			last = g.at
		}
		if d := to.Sub(last); d > gap {
			gap, of = d, key
		}
	}
	return gap, of
}

func keysNamed(prefix string, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s/%d", prefix, i)
	}
	return keys
}
