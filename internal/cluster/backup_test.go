package cluster_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// copies configures nodes to keep n copies of every lock.
func copies(n int) func(int, *mesh.Config) {
	return func(_ int, cfg *mesh.Config) { cfg.Replicas = n }
}

func TestKillsWithBackups(t *testing.T) {
	// A pause of slightly more than a lease must not outlast the locks that are held.
	survive(t, cluster.Options{Timing: time.Second, MaxTTL: 20 * time.Second}, 1)
}

func TestSimKillsWithBackups(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		survive(t, cluster.Options{Net: cluster.Memory}, 3)
	})
}

func TestSimKillsWithTwoBackups(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		survive(t, cluster.Options{Net: cluster.Memory, Nodes: 5}, 2)
	})
}

// survive kills one node after the other: each time the owner of a key with a queue and, with two
// backups, another node at the same time. No held lock is lost, waiters keep their places, and
// every key can be acquired when the leases of the dead nodes have ended, without a quarantine.
func survive(t *testing.T, o cluster.Options, rounds int) {
	c := cluster.Start(t, o)
	ctx := limited(t)
	if got, want := c.Node(0).Status().Replicas, c.Len()/2+1; got != want {
		t.Fatalf("%d copies of every lock by default, want %d", got, want)
	}
	locks := hold(ctx, t, c, keysNamed("held", 30))
	keys := keysNamed("busy", 24)
	busy := startLoad(ctx, t, c, keys, 50*time.Millisecond)
	busy.keepOn(ctx, t, keys)
	for round := range rounds {
		key := fmt.Sprint("queue", round)
		victims := []int{c.Owner(key)}
		if c.Len() == 5 {
			victims = append(victims, (victims[0]+1)%5)
		}
		var first *client.Lock
		order := make(chan string, 2)
		done := make(chan error, 2)
		for n, name := range []string{"holder", "second", "third"} {
			cl, err := c.Dial(ctx, client.Options{ClientID: name})
			must(t, err)
			if n == 0 {
				first, err = cl.Acquire(ctx, key, client.TTL(c.MaxTTL()))
				must(t, err)
				continue
			}
			go func() {
				l, err := cl.Acquire(ctx, key, client.TTL(c.MaxTTL()), client.Wait(40*time.Second))
				if err == nil {
					order <- name
					err = l.Release(ctx)
				}
				done <- err
			}()
			waitQueue(ctx, t, c, (victims[0]+2)%c.Len(), key, n)
		}
		killed := time.Now()
		for _, v := range victims {
			c.Kill(v)
		}
		busy.await(ctx, t, killed.Add(c.Timing()), "every key after the deaths", func(grants []grant) bool {
			seen := map[string]bool{}
			for _, g := range grants {
				seen[g.key] = true
			}
			return len(seen) == len(keys)
		})
		back := time.Since(killed)
		t.Logf("all keys were granted again within %v of the death, a lease is %v", back, c.Timing())
		if limit := 2*c.Timing() + time.Second; o.Net == cluster.Memory && back > limit {
			t.Errorf("a key was not granted for %v, want at most %v", back, limit)
		}
		must(t, c.WaitMembers(ctx, c.Len()-len(victims)))
		locks.check(ctx, t, c.Client((victims[0]+2)%c.Len()))
		must(t, first.Release(ctx))
		for range 2 {
			must(t, <-done)
		}
		if a, b := <-order, <-order; a != "second" || b != "third" {
			t.Errorf("granted to the %s, then to the %s", a, b)
		}
		for _, v := range victims {
			must(t, c.Restart(ctx, v))
		}
		must(t, c.WaitMembers(ctx, c.Len()))
		// Two faults count as single ones if the locks were renewed in between.
		until(ctx, t, "all locks have been renewed", func() bool {
			return !slices.ContainsFunc(locks, func(l *client.Lock) bool { return l.Err() == nil && l.Remaining() < c.MaxTTL()/2 })
		})
	}
	for _, g := range busy.stop(t) {
		if g.epoch == 0 {
			t.Error("a grant without an epoch")
		}
	}
	for _, l := range locks {
		must(t, l.Release(ctx))
	}
	for i := range c.Len() {
		if q := c.Node(i).Status().Quarantined; q > 0 {
			t.Errorf("%d partitions of node %d are in quarantine", q, i)
		}
	}
}

// V6: two nodes cannot reach each other, a third reaches both. One of the two has to leave, so
// that every key can be acquired. It returns when the split is healed.
func TestSimPartialSplit(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, Timing: 2 * time.Second, MaxTTL: 10 * time.Second})
		ctx := limited(t)
		locks := hold(ctx, t, c, keysNamed("held", 20))
		keys := keysNamed("busy", 24)
		busy := startLoad(ctx, t, c, keys, 50*time.Millisecond)
		for round := range 3 {
			busy.keepOn(ctx, t, keys)
			i := round
			j := (round + 1) % 3
			epoch, cut := c.Epoch(), time.Now()
			c.Cut(i, j)
			c.Cut(j, i)
			busy.await(ctx, t, cut, "every key in a newer view", func(grants []grant) bool {
				seen := map[string]bool{}
				for _, g := range grants {
					if g.epoch > epoch {
						seen[g.key] = true
					}
				}
				return len(seen) == len(keys)
			})
			back := time.Since(cut)
			t.Logf("cut between %d and %d: every key was granted again within %v", i, j, back)
			if limit := 3*c.Timing() + time.Second; back > limit {
				t.Errorf("a key was not granted for %v, want at most %v", back, limit)
			}
			c.Heal()
			must(t, c.WaitMembers(ctx, 3))
			locks.check(ctx, t, c.Client(i))
		}
		busy.stop(t)
	})
}
