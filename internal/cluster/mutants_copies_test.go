package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// More schedules like those of mutants_test.go: about the only copy of a key, which is moved, lost or
// too old, and about requests that are over.

// 4.1, G1: the only copy of a key moves with the key, without a loss, to a member that joins and away
// from one that leaves. The holder keeps the key.
func TestSimOnlyCopyMoves(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, Nodes: 2, MaxTTL: 20 * time.Second, Configure: copies(1)})
		ctx := limited(t)
		keys := keysNamed("k", 30)
		first, second := dial(ctx, t, c, "first", 0), dial(ctx, t, c, "second", 1)
		for _, key := range keys {
			_, err := first.Acquire(ctx, key, client.NoRenew())
			must(t, err)
		}
		held := func() {
			for _, key := range keys {
				if _, err := second.TryAcquire(ctx, key); !errors.Is(err, sharelock.ErrLockHeld) {
					t.Errorf("%q is held, but the answer to another is: %v", key, err)
				}
			}
			pause(ctx, 50*time.Millisecond)
		}
		joined, err := c.Add(ctx)
		must(t, err)
		must(t, c.WaitMembers(ctx, 3))
		held()
		must(t, c.Stop(ctx, joined)) // the member that joined last is asked last
		must(t, c.WaitMembers(ctx, 2))
		held()
	})
}

// 4.3 and schedule 5: the owner dies with the only copy, and its successor leaves during the
// quarantine. The quarantine moves with the key: it neither ends nor starts again, and later tokens
// are larger.
func TestSimQuarantineMoves(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const dead = 0
		const ttl = 20 * time.Second
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, Nodes: 4, MaxTTL: ttl, Configure: copies(1)})
		ctx := limited(t)
		key := keyOwnedBy(t, c, dead)
		l, err := dial(ctx, t, c, "first").Acquire(ctx, key, client.NoRenew())
		must(t, err)
		c.Kill(dead)
		died := time.Now()
		must(t, c.WaitMembers(ctx, 3))
		next := c.Owner(key)
		pause(ctx, 8*time.Second)
		must(t, c.Stop(ctx, next))
		must(t, c.WaitMembers(ctx, 2))
		after, err := dial(ctx, t, c, "second", others(c, dead, next)...).Acquire(ctx, key, client.Wait(40*time.Second))
		must(t, err)
		if waited := time.Since(died); waited > ttl+ttl/10+4*time.Second {
			t.Errorf("%s: granted %v after the death, want soon after %v", invariant.OnTime, waited, ttl+ttl/10)
		}
		if after.Token() <= l.Token() {
			t.Errorf("%s: token %v follows %v", cluster.TokensGrow, after.Token(), l.Token())
		}
		use(ctx, t, after)
	})
}

func others(c *cluster.Cluster, not ...int) []int {
	var list []int
	for i := range c.Len() {
		skip := false
		for _, n := range not {
			skip = skip || i == n
		}
		if !skip {
			list = append(list, i)
		}
	}
	return list
}

// 4.2 and schedule 2: a member that was cut off comes back with a copy of an old epoch, whose log is
// much longer than that of the copy that was made since.
func TestSimOldCopyComesBack(t *testing.T) {
	virtual.Test(t, func(t *testing.T) { oldCopy(t, false) })
}

// 4.2 and schedule 3: the member with the newer copy has also restarted without it. Its next
// incarnation is not a witness that there was none.
func TestSimRestartedWitness(t *testing.T) {
	virtual.Test(t, func(t *testing.T) { oldCopy(t, true) })
}

func oldCopy(t *testing.T, restart bool) {
	const old = 0
	c := cluster.Start(t, cluster.Options{Net: cluster.Memory, MaxTTL: 10 * time.Second, Configure: copies(1)})
	ctx := limited(t)
	first := dial(ctx, t, c, "first", old)
	var keys []string
	for _, key := range keysNamed("k", 60) {
		if c.Owner(key) != old {
			continue
		}
		keys = append(keys, key)
		for range 5 { // makes its log long
			l, err := first.Acquire(ctx, key)
			must(t, err)
			must(t, l.Release(ctx))
			pause(ctx, time.Millisecond)
		}
	}
	c.Split([]int{old}, []int{1, 2})
	must(t, c.WaitAmong(ctx, 1, 2))
	newer := 1
	if c.Leader() == newer {
		newer = 2 // a member whose death causes no election
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return c.Owner(key) != newer })
	if len(keys) == 0 {
		t.Fatal("no key moved to the node that is to die")
	}
	second := dial(ctx, t, c, "second", 1, 2)
	l, err := second.Acquire(ctx, keys[0], client.NoRenew(), client.Wait(30*time.Second))
	must(t, err)
	if restart {
		c.Kill(newer)
		must(t, c.Restart(ctx, newer))
	}
	c.Heal()
	must(t, c.WaitMembers(ctx, 3))
	third, err := dial(ctx, t, c, "third").Acquire(ctx, keys[0], client.Wait(30*time.Second))
	must(t, err)
	if third.Token() <= l.Token() {
		t.Errorf("%s: token %v follows %v", cluster.TokensGrow, third.Token(), l.Token())
	}
	use(ctx, t, third)
}

// Q2: a request id that is sent again gets its grant, or nothing when the request is over.
func TestSimSameRequest(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory})
		ctx := limited(t)
		cl := dial(ctx, t, c, "first")
		again := client.RequestID("again")
		l, err := cl.Acquire(ctx, "k", again)
		must(t, err)
		same, err := cl.Acquire(ctx, "k", again)
		must(t, err)
		if same.Token() != l.Token() {
			t.Errorf("%s: tokens %v and %v", cluster.OneGrant, l.Token(), same.Token())
		}
		must(t, same.Release(ctx))
		if _, err := cl.Acquire(ctx, "k", again); !errors.Is(err, sharelock.ErrRequestOver) {
			t.Errorf("%s: the answer to a late duplicate is: %v", cluster.OneGrant, err)
		}
	})
}

// Q2: a late release does not end another client's hold.
func TestSimLateRelease(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory})
		ctx := limited(t)
		first, second, third := dial(ctx, t, c, "first"), dial(ctx, t, c, "second"), dial(ctx, t, c, "third")
		old, err := first.Acquire(ctx, "k", client.TTL(time.Second), client.NoRenew())
		must(t, err)
		l, err := second.Acquire(ctx, "k", client.Wait(10*time.Second))
		must(t, err)
		_, _ = first.ReleaseToken(ctx, "k", old.Token())
		if thief, err := third.TryAcquire(ctx, "k"); err == nil {
			t.Errorf("%s: token %v is granted beside %v", cluster.OneHolder, thief.Token(), l.Token())
		}
		use(ctx, t, l)
	})
}

// Q5: the first waiter is granted first.
func TestSimInLine(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory})
		ctx := limited(t)
		cl := dial(ctx, t, c, "first")
		l, err := cl.Acquire(ctx, "k")
		must(t, err)
		done := make(chan error)
		const waiters = 4
		for n := range waiters {
			go func() {
				l, err := dial(ctx, t, c, fmt.Sprint("waiter", n)).Acquire(ctx, "k", client.Wait(20*time.Second))
				if err == nil {
					err = l.Release(ctx)
				}
				done <- err
			}()
			waitQueue(ctx, t, c, 0, "k", n+1)
		}
		_, err = cl.Get(ctx, "k") // so that the history contains the queue
		must(t, err)
		pause(ctx, 50*time.Millisecond)
		must(t, l.Release(ctx))
		for range waiters {
			must(t, <-done)
		}
		pause(ctx, 50*time.Millisecond) // the end of the mesh may overtake waiters; that is another matter
	})
}

// Q5: a waiter keeps its place when the node dies that forwarded it, although its client takes a
// while to find another. This happens long before a newer view, and so an activation, could help.
func TestSimForwardingNodeDies(t *testing.T) {
	forwardingNodeEnds(t, true, func(_ context.Context, c *cluster.Cluster, i int) error {
		c.Kill(i)
		return nil
	})
}

// The same for a node that stops in good order.
func TestSimForwardingNodeStops(t *testing.T) {
	forwardingNodeEnds(t, false, func(ctx context.Context, c *cluster.Cluster, i int) error { return c.Stop(ctx, i) })
}

// forwardingNodeEnds ends the node that forwarded a waiter. sameView requires that this works before
// there is a new view.
func forwardingNodeEnds(t *testing.T, sameView bool, end func(ctx context.Context, c *cluster.Cluster, i int) error) {
	t.Helper()
	virtual.Test(t, func(t *testing.T) {
		const owner, backup, dead = 0, 1, 2
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, Timing: 4 * time.Second, MaxTTL: 20 * time.Second, Configure: copies(2)})
		ctx := limited(t)
		key := placed(t, c, owner, backup)
		l, err := dial(ctx, t, c, "holder", owner).Acquire(ctx, key)
		must(t, err)
		granted := make(chan string)
		wait := func(name string, nodes ...int) {
			cl, err := c.Dial(ctx, client.Options{ClientID: name}, nodes...)
			must(t, err)
			go func() {
				next, err := cl.Acquire(ctx, key, client.Wait(20*time.Second))
				switch {
				case err != nil:
					t.Errorf("%s: %v", name, err)
				case sameView && next.Token().Epoch() != l.Token().Epoch():
					t.Errorf("%s is granted in epoch %d, want epoch %d", name, next.Token().Epoch(), l.Token().Epoch())
				}
				granted <- name
				if err == nil {
					_ = next.Release(ctx)
				}
			}()
		}
		wait("first", dead, backup)
		waitQueue(ctx, t, c, owner, key, 1)
		wait("second", owner)
		waitQueue(ctx, t, c, owner, key, 2)
		c.MemNet().Delay("clients", c.Name(backup), 200*time.Millisecond)
		must(t, end(ctx, c, dead))
		synctest.Wait() // until the owner has noticed that its link to the node broke
		must(t, l.Release(ctx))
		for _, want := range []string{"first", "second"} {
			if got := <-granted; got != want {
				t.Errorf("%s: %s is granted the key, it is the turn of the %s", cluster.Fair, got, want)
			}
		}
	})
}
