package cluster_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// loadTime is the least time for which the load of joinLeave continues, by the clock of the test.
// The environment variable SHARELOCK_TEST_LOAD makes it longer, for example 10m.
func loadTime(t *testing.T) time.Duration {
	t.Helper()
	long := os.Getenv("SHARELOCK_TEST_LOAD")
	if long == "" {
		return time.Second
	}
	d, err := time.ParseDuration(long)
	must(t, err)
	return d
}

// held are locks that are held and renewed while everything else changes.
type held []*client.Lock

func hold(ctx context.Context, t *testing.T, c *cluster.Cluster, keys []string, nodes ...int) held {
	t.Helper()
	cl, err := c.Dial(ctx, client.Options{ClientID: "holder"}, nodes...)
	must(t, err)
	var locks held
	for _, key := range keys {
		l, err := cl.Acquire(ctx, key, client.TTL(c.MaxTTL()))
		must(t, err)
		locks = append(locks, l)
	}
	return locks
}

// check fails the test if a lock was lost at its client or at its owner.
func (h held) check(ctx context.Context, t *testing.T, cl *client.Client) {
	t.Helper()
	for _, l := range h {
		if err := l.Err(); err != nil {
			t.Errorf("lock of %q with token %v: %v", l.Key(), l.Token(), err)
			continue
		}
		check, err := cl.CheckToken(ctx, l.Key(), l.Token())
		if err != nil || !check.Current {
			t.Errorf("token %v of %q is held, but its owner says %+v, %v", l.Token(), l.Key(), check, err)
		}
	}
}

func TestJoinLeaveUnderLoad(t *testing.T) {
	// Leases and locks that survive a busy machine.
	joinLeave(t, cluster.Options{Timing: 2 * time.Second, MaxTTL: 10 * time.Second}, func(c *cluster.Cluster) []int { return []int{1} })
}

func TestSimJoinLeaveUnderLoad(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		joinLeave(t, cluster.Options{Net: cluster.Memory}, func(*cluster.Cluster) []int { return []int{0, 1, 2, 3} })
	})
}

func TestSimJoinAndLeaderLeavesUnderLoad(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		joinLeave(t, cluster.Options{Net: cluster.Memory}, func(c *cluster.Cluster) []int { return []int{c.Leader()} })
	})
}

// joinLeave lets a fourth node join, then others leave in order, one after the other, and come
// back. Meanwhile keys are acquired and released 200 times a second, and others are held. Only keys
// whose owners change may be affected.
func joinLeave(t *testing.T, o cluster.Options, leavers func(c *cluster.Cluster) []int) {
	c := cluster.Start(t, o)
	ctx := limited(t)
	end := time.After(loadTime(t))
	// Enough keys that the fourth node owns some of them at the end, whatever its identity is.
	locks := hold(ctx, t, c, keysNamed("held", 100), 2, 0, 1)
	keys := keysNamed("busy", 20)
	busy := startLoad(ctx, t, c, keys, 100*time.Millisecond)
	busy.keepOn(ctx, t, keys)
	_, err := c.Add(ctx)
	must(t, err)
	must(t, c.WaitMembers(ctx, 4))
	busy.keepOn(ctx, t, keys)
	for goOn := true; goOn; {
		for _, i := range leavers(c) {
			must(t, c.Stop(ctx, i))
			must(t, c.WaitMembers(ctx, 3))
			busy.keepOn(ctx, t, keys)
			must(t, c.Restart(ctx, i))
			must(t, c.WaitMembers(ctx, 4))
			busy.keepOn(ctx, t, keys)
		}
		select {
		case <-end:
			goOn = false
		default:
		}
	}
	busy.stop(t)
	locks.check(ctx, t, c.Client(3))
	moved := 0
	for _, l := range locks {
		if c.Owner(l.Key()) == 3 {
			moved++
		}
		must(t, l.Release(ctx))
	}
	if moved == 0 {
		t.Error("none of 100 keys has moved to the fourth node")
	}
}

func TestKillOwnerUnderLoad(t *testing.T) {
	killOwner(t, cluster.Options{Timing: 2 * time.Second}, false)
}

func TestSimKillLeaderUnderLoad(t *testing.T) {
	virtual.Test(t, func(t *testing.T) { killOwner(t, cluster.Options{Net: cluster.Memory}, true) })
}

func TestSimKillFollowerUnderLoad(t *testing.T) {
	virtual.Test(t, func(t *testing.T) { killOwner(t, cluster.Options{Net: cluster.Memory}, false) })
}

// killOwner kills a node under load, without backups (ring.replicas: 1). The keys of other owners
// are not affected. Its own keys can be acquired again when its lease and every lock that it may
// have granted have ended, and not before.
func killOwner(t *testing.T, o cluster.Options, leader bool) {
	o.Configure = copies(1)
	c := cluster.Start(t, o)
	ctx := limited(t)
	keys := keysNamed("busy", 24)
	for i := range c.Len() { // each node owns one at least
		keys = append(keys, keyOwnedBy(t, c, i))
	}
	busy := startLoad(ctx, t, c, keys, 50*time.Millisecond)
	busy.keepOn(ctx, t, keys)

	victim := c.Leader()
	if !leader {
		victim = (victim + 1) % 3
	}
	var lost, kept []string
	for _, key := range keys {
		if c.Owner(key) == victim {
			lost = append(lost, key)
		} else {
			kept = append(kept, key)
		}
	}
	if len(lost) == 0 {
		t.Fatalf("node %d owns none of %d keys", victim, len(keys))
	}
	epoch, killed := c.Epoch(), time.Now()
	c.Kill(victim)
	back := func(grants []grant) (at map[string]time.Time) {
		at = map[string]time.Time{}
		for _, g := range grants {
			if _, ok := at[g.key]; !ok && g.epoch > epoch {
				at[g.key] = g.at
			}
		}
		return at
	}
	busy.await(ctx, t, killed, "the keys of the dead", func(grants []grant) bool { return len(back(grants)) == len(keys) })
	must(t, c.WaitMembers(ctx, 2))
	recovered := time.Now()

	must(t, c.Restart(ctx, victim))
	must(t, c.WaitMembers(ctx, 3))
	busy.keepOn(ctx, t, keys)
	grants := busy.stop(t, client.ErrLost) // what was held at the moment of the kill

	lease, quarantine := c.Timing(), c.MaxTTL()+c.MaxTTL()/10
	first := recovered
	for _, key := range lost {
		if at := back(grants)[key]; at.Before(first) {
			first = at
		}
	}
	// V5: its last renewal was at most a fifth of a lease old, plus some time for the message.
	if least := lease*8/10 + quarantine; first.Sub(killed) < least {
		t.Errorf("a key of the dead was granted %v after its death, want at least %v", first.Sub(killed), least)
	}
	gap, of := longestGap(grants, kept, killed, recovered)
	t.Logf("a key of the dead came back after %v, all after %v; the longest gap of another was %v",
		first.Sub(killed), recovered.Sub(killed), gap)
	if o.Net == cluster.Memory && gap >= lease { // in a bubble only: real time proves nothing
		t.Errorf("%q, whose owner lived on, was not granted for %v", of, gap)
	}
	takesPart(ctx, t, c, victim)
}

// takesPart fails the test if the node does not own and serve keys.
func takesPart(ctx context.Context, t *testing.T, c *cluster.Cluster, i int) {
	t.Helper()
	for _, key := range keysNamed("part", 100) {
		if c.Owner(key) != i {
			continue
		}
		l, err := c.Client(i).Acquire(ctx, key)
		must(t, err)
		if node := l.Hold().Node; node != c.Name(i) {
			t.Errorf("%q was granted by %s, its owner is node %d", key, node, i)
		}
		must(t, l.Release(ctx))
		return
	}
	t.Errorf("node %d owns none of 100 keys", i)
}

func TestKillAllAndRestart(t *testing.T) {
	killAll(t, cluster.Options{Timing: time.Second})
}

func TestSimKillAllAndRestart(t *testing.T) {
	virtual.Test(t, func(t *testing.T) { killAll(t, cluster.Options{Net: cluster.Memory}) })
}

// killAll crashes all nodes at once.
func killAll(t *testing.T, o cluster.Options) {
	c := cluster.Start(t, o)
	ctx := limited(t)
	keys := keysNamed("k", 10)
	old := hold(ctx, t, c, keys)
	for i := range 3 {
		c.Kill(i)
	}
	if err := c.Check(); err != nil {
		t.Errorf("with all nodes down: %v", err)
	}
	restarted := time.Now()
	for i := range 3 {
		must(t, c.Restart(ctx, i))
	}
	must(t, c.WaitReady(ctx))
	ready := time.Now()
	t.Logf("ready %v after the restart", ready.Sub(restarted))

	quarantine := c.MaxTTL() + c.MaxTTL()/10
	if _, err := c.Client(0).TryAcquire(ctx, keys[0]); !errors.Is(err, sharelock.ErrQuarantined) && time.Since(ready) < quarantine/2 {
		t.Errorf("the state was lost, but a try gives %v", err)
	}
	cl, err := c.Dial(ctx, client.Options{ClientID: "later"})
	must(t, err)
	for i, key := range keys {
		l, err := cl.Acquire(ctx, key)
		must(t, err)
		if after := time.Since(restarted); after < quarantine {
			t.Errorf("%q was granted %v after the restart, quarantine is %v", key, after, quarantine)
		}
		if l.Token() <= old[i].Token() {
			t.Errorf("%q: token %v after the loss, %v before", key, l.Token(), old[i].Token())
		}
		if err := old[i].Err(); !errors.Is(err, client.ErrLost) {
			t.Errorf("the lock of %q from before: %v, want it to be lost", key, err)
		}
	}
}

func TestCutOffNodeAnswersUnavailable(t *testing.T) {
	cutOff(t, cluster.Options{Net: cluster.Memory, Timing: time.Second, MaxTTL: 5 * time.Second, Configure: copies(1)})
}

func TestSimCutOffNodeAnswersUnavailable(t *testing.T) {
	// The lease is longer than any lock: if the others did not wait for its end (V5), two clients
	// would hold a key.
	virtual.Test(t, func(t *testing.T) {
		cutOff(t, cluster.Options{Net: cluster.Memory, Timing: 2 * time.Second, MaxTTL: time.Second, Configure: copies(1)})
	})
}

// cutOff cuts one node off the others, without backups. Clients reach all of them.
func cutOff(t *testing.T, o cluster.Options) {
	c := cluster.Start(t, o)
	ctx := limited(t)
	lone := c.Leader() // the one whose loss costs most
	var rest []int
	for i := range 3 {
		if i != lone {
			rest = append(rest, i)
		}
	}
	// One lock at the owner that is cut off, one at another owner.
	var lost, kept *client.Lock
	for _, key := range keysNamed("k", 100) {
		switch owner := c.Owner(key); {
		case owner == lone && lost == nil:
			lost = hold(ctx, t, c, []string{key}, lone)[0]
		case owner != lone && kept == nil:
			kept = hold(ctx, t, c, []string{key}, rest...)[0]
		}
	}
	if lost == nil || kept == nil {
		t.Fatal("100 keys have one owner")
	}
	cut := time.Now()
	c.Split([]int{lone}, rest)
	if err := untilNotReady(ctx, c, lone); !errors.Is(err, sharelock.ErrNoQuorum) {
		t.Errorf("the node that is cut off says %v, want no quorum", err)
	}
	if after := time.Since(cut); after > c.Timing()*11/10 {
		t.Errorf("it noticed %v after the cut, the lease is %v", after, c.Timing())
	}
	if _, err := c.Node(lone).Acquire(ctx, sharelock.AcquireRequest{Key: lost.Key(), ClientID: "x"}); !errors.Is(err, sharelock.ErrNoQuorum) {
		t.Errorf("an acquire at it: %v, want no quorum", err)
	}
	must(t, c.WaitAmong(ctx, rest...))
	l, err := c.Client(rest[0]).Acquire(ctx, lost.Key())
	must(t, err)
	quarantine := c.MaxTTL() + c.MaxTTL()/10
	if after, least := time.Since(cut), c.Timing()*8/10+quarantine; after < least {
		t.Errorf("its key was granted %v after the cut, want at least %v", after, least)
	}
	if err := lost.Err(); !errors.Is(err, client.ErrLost) {
		t.Errorf("the lock at the node that is cut off: %v", err)
	}
	held{kept}.check(ctx, t, c.Client(rest[1]))

	c.Heal()
	must(t, c.WaitReady(ctx))
	takesPart(ctx, t, c, lone)
	must(t, l.Release(ctx))
	must(t, kept.Release(ctx))
}

// With backups a cut costs only a pause for clients that reach the majority: holders keep their
// locks, whichever node owned the key.
func TestSimCutOffLosesNothing(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, Timing: 2 * time.Second, MaxTTL: 10 * time.Second})
		ctx := limited(t)
		locks := hold(ctx, t, c, keysNamed("held", 20))
		keys := keysNamed("busy", 24)
		busy := startLoad(ctx, t, c, keys, 50*time.Millisecond)
		busy.keepOn(ctx, t, keys)
		lone := c.Leader()
		rest := []int{(lone + 1) % 3, (lone + 2) % 3}
		cut := time.Now()
		c.Split([]int{lone}, rest)
		if err := untilNotReady(ctx, c, lone); !errors.Is(err, sharelock.ErrNoQuorum) {
			t.Errorf("the node that is cut off says %v, want no quorum", err)
		}
		must(t, c.WaitAmong(ctx, rest...))
		busy.keepOn(ctx, t, keys)
		if back, limit := time.Since(cut), 2*c.Timing()+time.Second; back > limit {
			t.Errorf("a key was not granted for %v, want at most %v", back, limit)
		}
		locks.check(ctx, t, c.Client(rest[0]))
		c.Heal()
		must(t, c.WaitMembers(ctx, 3))
		busy.stop(t)
		locks.check(ctx, t, c.Client(lone))
	})
}

// untilNotReady waits until a node reports that it may not serve, and returns its reason.
func untilNotReady(ctx context.Context, c *cluster.Cluster, i int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if err := c.Node(i).Ready(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
