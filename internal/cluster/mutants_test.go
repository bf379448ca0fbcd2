package cluster_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// This file has schedules in which a single rule protects an invariant, because all other rules
// that usually protect it, too, do not apply. A storm rarely finds such a moment; `make mutants`
// needs it.

// keyOwnedBy returns a key of node i that is not in not.
func keyOwnedBy(t *testing.T, c *cluster.Cluster, i int, not ...string) string {
	t.Helper()
	for _, key := range keysNamed("k", 100) {
		if c.Owner(key) == i && !slices.Contains(not, key) {
			return key
		}
	}
	t.Fatalf("node %d owns none of 100 keys", i)
	return ""
}

func dial(ctx context.Context, t *testing.T, c *cluster.Cluster, name string, nodes ...int) *client.Client {
	t.Helper()
	cl, err := c.Dial(ctx, client.Options{ClientID: name, Patience: 100 * time.Millisecond}, nodes...)
	must(t, err)
	return cl
}

// use holds a lock for a moment and releases it: a lock of no duration overlaps with nothing.
func use(ctx context.Context, t *testing.T, l *client.Lock) {
	t.Helper()
	pause(ctx, 50*time.Millisecond)
	must(t, l.Release(ctx))
}

// A2 and Q4, the second line of defence: an owner that is cut off from all except its client has
// the only copy, so only its lease tells it to stop.
func TestSimCutOffOwner(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const cut = 0
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, MaxTTL: time.Second, Configure: copies(1)})
		ctx := limited(t)
		key := keyOwnedBy(t, c, cut)
		first, second := dial(ctx, t, c, "first", cut), dial(ctx, t, c, "second", 1, 2)
		old, err := first.Acquire(ctx, key)
		must(t, err)
		c.Split([]int{cut}, []int{1, 2})
		l, err := second.Acquire(ctx, key, client.Wait(20*time.Second))
		must(t, err)
		if old.Err() == nil {
			t.Errorf("%s: the owner that was cut off goes on, for another %v", cluster.OneHolder, old.Remaining())
		}
		if again, err := first.TryAcquire(ctx, key); err == nil {
			t.Errorf("%s: the owner that was cut off has granted token %v", cluster.OneHolder, again.Token())
		}
		use(ctx, t, l)
	})
}

// A3, the first line of defence: an owner whose clock stands still never notices the end of its
// lease. As long as one backup continues without it, it can promise nothing, and must not answer
// reads either.
func TestSimClockStandsStill(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const cut = 0
		exact, stopped := clock.Monotonic(), time.Duration(0)
		var mu sync.Mutex
		c := cluster.Start(t, cluster.Options{
			Net: cluster.Memory, MaxTTL: 2 * time.Second,
			Configure: func(i int, cfg *mesh.Config) {
				cfg.Replicas = 2
				if i == cut {
					cfg.Clock = func() time.Duration {
						mu.Lock()
						defer mu.Unlock()
						if stopped > 0 {
							return stopped
						}
						return exact()
					}
				}
			},
		})
		ctx := limited(t)
		key := keyOwnedBy(t, c, cut)
		other := keyOwnedBy(t, c, cut, key)
		first, second := dial(ctx, t, c, "first", cut), dial(ctx, t, c, "second", 1, 2)
		_, err := first.Acquire(ctx, key)
		must(t, err)
		c.Split([]int{cut}, []int{1, 2})
		mu.Lock()
		stopped = exact()
		mu.Unlock()
		l, err := second.Acquire(ctx, key, client.Wait(20*time.Second))
		must(t, err)
		unread, err := second.Acquire(ctx, other)
		must(t, err)
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := first.Get(short, other); err == nil || errors.Is(err, sharelock.ErrNotHeld) {
			t.Errorf("%s: read (%v) from an owner that is owner no more", cluster.Linearizable, err)
		}
		use(ctx, t, unread)
		use(ctx, t, l)
	})
}

// A longer TTL is in the copies before it is promised (A3): the owner dies after a renewal that no
// other node has seen.
func TestSimLongerTTLIsNotLost(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const dead = 0
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, MaxTTL: 20 * time.Second, Configure: copies(2)})
		ctx := limited(t)
		key := keyOwnedBy(t, c, dead)
		first, second := dial(ctx, t, c, "first", dead), dial(ctx, t, c, "second", 1, 2)
		l, err := first.Acquire(ctx, key, client.TTL(2*time.Second), client.NoRenew())
		must(t, err)
		_, err = first.RenewToken(ctx, key, l.Token(), 20*time.Second)
		must(t, err)
		c.Kill(dead)
		next, err := second.Acquire(ctx, key, client.Wait(40*time.Second))
		must(t, err)
		use(ctx, t, next)
	})
}

// Q3: an owner whose clock is 9 % faster than its client's does not grant the lock to another client
// before the first client knows that it has expired.
func TestSimFastClock(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		exact := clock.Monotonic()
		c := cluster.Start(t, cluster.Options{
			Net: cluster.Memory, Nodes: 1, MaxTTL: 10 * time.Second,
			Configure: func(_ int, cfg *mesh.Config) {
				cfg.Clock = func() time.Duration { return exact() * 109 / 100 }
			},
		})
		ctx := limited(t)
		_, err := dial(ctx, t, c, "first", 0).Acquire(ctx, "k", client.NoRenew())
		must(t, err)
		l, err := dial(ctx, t, c, "second", 0).Acquire(ctx, "k", client.Wait(20*time.Second))
		must(t, err)
		use(ctx, t, l)
	})
}

// Q3: a client counts its lock's life from its send, however long the answer took, also for a renewal.
func TestSimSlowAnswer(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const ttl = 2 * time.Second
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, Nodes: 1, MaxTTL: ttl})
		ctx := limited(t)
		first, second := dial(ctx, t, c, "first", 0), dial(ctx, t, c, "second", 0)
		c.MemNet().Delay(c.Name(0), "clients", ttl*9/10)
		sent := time.Now()
		l, err := first.Acquire(ctx, "k", client.NoRenew())
		must(t, err)
		if most := ttl - time.Since(sent); l.Remaining() > most {
			t.Errorf("%s: a lock that its owner may give to another in %v is trusted for %v", cluster.OneHolder, most, l.Remaining())
		}
		c.Heal()
		next, err := second.Acquire(ctx, "k", client.Wait(20*time.Second))
		must(t, err)
		if l.Err() == nil {
			t.Errorf("%s: two clients trust their locks, the first for another %v", cluster.OneHolder, l.Remaining())
		}
		use(ctx, t, next)
	})
}

// Q3: a node does not count from the answer of a distant owner either.
func TestSimSlowOwner(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const far = 0
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, Timing: 8 * time.Second, MaxTTL: 2 * time.Second, Configure: copies(1)})
		ctx := limited(t)
		key := keyOwnedBy(t, c, far)
		first, second := dial(ctx, t, c, "first", 1), dial(ctx, t, c, "second", far)
		c.Delay(far, 1, 900*time.Millisecond)
		_, err := first.Acquire(ctx, key, client.TTL(time.Second), client.NoRenew())
		must(t, err)
		l, err := second.Acquire(ctx, key, client.Wait(20*time.Second))
		must(t, err)
		use(ctx, t, l)
	})
}

// Q3: an answer to an earlier send says nothing about the newest send, which may never arrive.
func TestSimWhichSend(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const far = 0
		const ttl = 3 * time.Second
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, Timing: 20 * time.Second, MaxTTL: 5 * time.Second, Configure: copies(1)})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		key := keyOwnedBy(t, c, far)
		first, second, third := dial(ctx, t, c, "first", far), dial(ctx, t, c, "second", 1), dial(ctx, t, c, "third", far)
		l, err := first.Acquire(ctx, key)
		must(t, err)
		began := time.Now()
		done := make(chan struct{})
		short, give := context.WithTimeout(ctx, 6*time.Second)
		defer give()
		go func() {
			defer close(done)
			_, _ = second.Acquire(short, key, client.TTL(ttl), client.Wait(20*time.Second), client.NoRenew())
		}()
		at := func(d time.Duration) { pause(ctx, d-time.Since(began)) }
		// It is sent again every second. The third send is granted, the answer arrives after the fourth
		// send, and that one is lost.
		at(2100 * time.Millisecond)
		c.Delay(far, 1, 950*time.Millisecond)
		must(t, l.Release(ctx))
		c.Cut(1, far)
		next, err := third.Acquire(ctx, key, client.Wait(20*time.Second))
		must(t, err)
		if got := next.Token(); got <= l.Token()+1 {
			t.Errorf("token %v follows %v, want another between them", got, l.Token())
		}
		<-done
		use(ctx, t, next)
		c.Heal()
	})
}
