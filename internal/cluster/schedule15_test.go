package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// Schedule 15: the mesh never gets stuck.

// A and B do not reach each other; both reach the leader.
func TestSchedule15aBrokenPair(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, ctx := scene(t, 3, 2), patient(t)
		leader := c.Leader()
		rest := others(c, leader)
		a, b := rest[0], rest[1]
		key := placed(t, c, a, b)
		cl := outside(ctx, t, c, "c1", leader)
		c.Cut(a, b)
		c.Cut(b, a)
		begin := time.Now()
		l, err := cl.Acquire(ctx, key, client.TTL(sceneTTL), client.Wait(time.Minute))
		must(t, err)
		// V6: after a second of waiting, reported twice. V6a: no lease is waited for.
		if took, most := time.Since(begin), time.Second+2*sceneLease/5+sceneLease/2; took > most {
			t.Errorf("the key serves again after %v, want %v", took, most)
		}
		must(t, l.Release(ctx))
		// V6a: it leaves when it has been told of every partition.
		until(ctx, t, "one is out", func() bool { return len(members(c, leader)) == 2 })
		// V3: a member that was evicted is not admitted while it does not reach all that stay.
		stop := never(t, "admitted though it does not reach all members", func() bool { return len(members(c, leader)) != 2 })
		pause(ctx, 30*time.Second)
		stop()
		c.Heal()
		must(t, c.WaitMembers(ctx, 3))
	})
}

// One of two members does not reach the other, for every pair and direction, including the leader,
// whether the leader joined first or last. One of them leaves, and all keys are served again.
func TestSchedule15aOneWay(t *testing.T) {
	for k, last := range []bool{false, true} {
		for i := range 3 {
			for j := range 3 {
				if i != j && !sparse(9*k+3*i+j-1) {
					t.Run(fmt.Sprintf("%d to %d, the leader joined last %t", i, j, last), func(t *testing.T) {
						virtual.Test(t, func(t *testing.T) { oneWay(t, i, j, last) })
					})
				}
			}
		}
	}
}

func oneWay(t *testing.T, i, j int, last bool) {
	c, ctx := scene(t, 3, 2), patient(t)
	if last {
		// Restart the leader, so that it joins last. Then other leaders follow until it is the leader again.
		young := c.Leader()
		must(t, c.Stop(ctx, young))
		must(t, c.Restart(ctx, young))
		must(t, c.WaitMembers(ctx, 3))
		for c.Leader() != young {
			leader := c.Leader()
			c.Freeze(leader)
			pause(ctx, sceneLease/2)
			c.Thaw(leader)
			must(t, c.WaitMembers(ctx, 3))
		}
		pause(ctx, 5*sceneLease)
		must(t, c.WaitMembers(ctx, 3))
		if c.Leader() != young {
			t.Skip("it leads no more")
		}
	}
	cl := outside(ctx, t, c, "c1", 0, 1, 2)
	c.Cut(i, j)
	begin := time.Now()
	var (
		users sync.WaitGroup
		mu    sync.Mutex
		worst time.Duration
	)
	for _, key := range keysNamed("k", 40) {
		users.Go(func() {
			l, err := cl.Acquire(ctx, key, client.TTL(sceneTTL), client.Wait(time.Minute))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			worst = max(worst, time.Since(begin))
			mu.Unlock()
			if err := l.Release(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	users.Wait()
	t.Logf("all keys serve after %v", worst)
	most := 3 * sceneLease
	if i == c.Leader() {
		// Nothing that the leader relays arrives. The member counts as deaf after 2 L (V6a), and V5 removes
		// it.
		most = time.Second + 2*sceneLease/5 + 2*sceneLease + sceneLease*11/10 + sceneLease/4
	}
	if worst > most {
		t.Errorf("all keys serve again after %v, want %v", worst, most)
	}
	c.Heal()
	must(t, c.WaitMembers(ctx, 3))
}

// A is paused for less than its lease, and then complains about all others.
func TestSchedule15bPausedComplainer(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const lease = 4 * time.Second
		c := cluster.Start(inRAM(t), cluster.Options{Net: cluster.Memory, Nodes: 4, Timing: lease, MaxTTL: sceneMax, Configure: copies(3)})
		ctx := patient(t)
		leader := c.Leader()
		a := others(c, leader)[0]
		busy, stop := context.WithCancel(ctx)
		var users sync.WaitGroup
		for i := range c.Len() {
			cl := outside(ctx, t, c, c.Name(i)+"'s", i)
			for _, key := range keysNamed(c.Name(i), 10) {
				users.Go(func() {
					for busy.Err() == nil {
						if l, err := cl.Acquire(busy, key); err == nil {
							_ = l.Release(busy)
						}
						pause(busy, 50*time.Millisecond)
					}
				})
			}
		}
		end := never(t, "one that was not paused is removed", func() bool {
			in := members(c, leader)
			return slices.ContainsFunc(others(c, a), func(i int) bool { return !slices.Contains(in, c.Name(i)) })
		})
		c.Freeze(a)
		pause(ctx, 3*time.Second)
		c.Thaw(a)
		pause(ctx, 20*time.Second)
		end()
		stop()
		users.Wait()
		must(t, c.WaitMembers(ctx, 4))
	})
}

// A member crashes and comes back every second.
func TestSchedule15cFlapping(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, ctx := scene(t, 3, 2), patient(t)
		leader := c.Leader()
		a := others(c, leader)[0]
		cl := outside(ctx, t, c, "c1", others(c, a)...)
		key := placed(t, c, leader, cluster.Anyone)
		const long = 90 * time.Second
		flaps, stop := context.WithTimeout(ctx, long)
		defer stop()
		var flapping sync.WaitGroup
		epoch := c.Epoch()
		crashes := 0
		flapping.Go(func() {
			for flaps.Err() == nil {
				c.Kill(a)
				crashes++
				pause(ctx, 500*time.Millisecond)
				if err := c.Restart(ctx, a); err != nil {
					t.Error(err)
					return
				}
				pause(ctx, 500*time.Millisecond)
			}
		})
		served, slowest := 0, time.Duration(0)
		for flaps.Err() == nil {
			begin := time.Now()
			l, err := cl.Acquire(ctx, key, client.Wait(time.Minute))
			must(t, err)
			must(t, l.Release(ctx))
			served, slowest = served+1, max(slowest, time.Since(begin))
			pause(ctx, 50*time.Millisecond)
		}
		flapping.Wait()
		admitted := 0
		for e := epoch; e < c.Epoch(); e++ {
			admitted++
		}
		t.Logf("%d crashes, %d views; %d locks, the slowest after %v", crashes, admitted, served, slowest)
		// V3: admissions back off, so most of its crashes do not affect the mesh.
		if admitted > crashes/3 {
			t.Errorf("%d crashes made %d views", crashes, admitted)
		}
		// V5: each crash of a member costs the keys that it backs up 1.1 L.
		if most := 4*sceneLease + time.Second; slowest > most {
			t.Errorf("a lock took %v, want at most %v", slowest, most)
		}
		must(t, c.WaitMembers(ctx, 3))
	})
}

// All processes are killed and restarted at once.
func TestSchedule15dAllAtOnce(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, ctx := scene(t, 3, 2), patient(t)
		cl := outside(ctx, t, c, "c1", 0, 1, 2)
		l, err := cl.Acquire(ctx, "k", client.TTL(sceneMax), client.NoRenew())
		must(t, err)
		begin := time.Now()
		for i := range c.Len() {
			c.Kill(i)
		}
		for i := range c.Len() {
			must(t, c.Restart(ctx, i))
		}
		// The new incarnations do not wait for answers of the dead ones.
		must(t, c.WaitReady(waitAtMost(ctx, t, 5*sceneLease)))
		next, err := cl.Acquire(ctx, "k", client.Wait(time.Minute))
		must(t, err)
		if early := l.Remaining(); early > 0 {
			t.Errorf("granted again %v before the first lock ends", early)
		}
		if took, most := time.Since(begin), sceneMax*11/10+5*sceneLease; took > most {
			t.Errorf("granted again after %v, want at most %v", took, most)
		}
		must(t, next.Release(ctx))
	})
}

// Gossip finds members; it decides nothing.
func TestSchedule15eGossip(t *testing.T) {
	t.Run("alive, but it does not renew", func(t *testing.T) {
		virtual.Test(t, func(t *testing.T) {
			c, ctx := scene(t, 3, 2), patient(t)
			leader := c.Leader()
			a := others(c, leader)[0]
			silent := c.DropMessages(cluster.Messages{From: a, To: cluster.Anyone, Kinds: []cluster.Kind{cluster.LeaseRequest}})
			took := until(ctx, t, "it is removed", func() bool { return len(members(c, leader)) == 2 })
			if least, most := sceneLease, sceneLease*11/10+sceneLease; took < least-sceneLease/5 || took > most {
				t.Errorf("removed after %v, want %v to %v", took, least, most)
			}
			silent.End()
			must(t, c.WaitMembers(ctx, 3))
		})
	})
	t.Run("dead, but it renews", func(t *testing.T) {
		virtual.Test(t, func(t *testing.T) {
			c, ctx := scene(t, 3, 2), patient(t)
			leader := c.Leader()
			a := others(c, leader)[0]
			epoch := c.Epoch()
			c.MemNet().Deafen(c.Name(a), 7946)
			stop := never(t, "removed because gossip takes it for dead", func() bool { return c.Epoch() != epoch })
			pause(ctx, calm(5*time.Minute))
			stop()
		})
	})
}

// An acknowledgement is lost, and the link is opened again.
func TestSchedule15fLostAcknowledgement(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, ctx := scene(t, 3, 2), patient(t)
		leader := c.Leader()
		b := others(c, leader)[0]
		key := placed(t, c, leader, b)
		cl := outside(ctx, t, c, "c1", leader)
		epoch := c.Epoch()
		lost := c.DropMessages(cluster.Messages{From: b, To: leader, Kinds: []cluster.Kind{cluster.Acks}})
		go func() { _ = lost.WaitMet(ctx, 1); lost.End() }()
		begin := time.Now()
		l, err := cl.Acquire(ctx, key, client.TTL(sceneTTL))
		must(t, err)
		if took := time.Since(begin); lost.Met() == 0 || took > sceneLease/4 {
			t.Errorf("acknowledged again after %v; %d acknowledgements were lost", took, lost.Met())
		}
		must(t, l.Release(ctx))
		if now := c.Epoch(); now != epoch {
			t.Errorf("the view changed from %d to %d", epoch, now)
		}
		must(t, c.CheckCopies(ctx))
	})
}

// Both replicas of a key leave in good order, together.
func TestSchedule15gBothLeave(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, ctx := scene(t, 5, 2), patient(t)
		leader := c.Leader()
		rest := others(c, leader)
		a, b := rest[0], rest[1]
		key := placed(t, c, a, b)
		stay := others(c, a, b)
		cl := outside(ctx, t, c, "c1", stay...)
		l, err := cl.Acquire(ctx, key, client.TTL(sceneTTL))
		must(t, err)
		stop := never(t, "a partition is in quarantine", func() bool {
			return slices.ContainsFunc(stay, func(i int) bool { return c.Node(i).Status().Quarantined > 0 })
		})
		var leaving sync.WaitGroup
		for _, i := range []int{a, b} {
			leaving.Go(func() {
				if err := c.Stop(ctx, i); err != nil {
					t.Errorf("node %d leaves: %v", i, err)
				}
			})
		}
		leaving.Wait()
		must(t, c.WaitMembers(ctx, 3))
		stop()
		check, err := cl.CheckToken(ctx, key, l.Token())
		must(t, err)
		if !check.Current || l.Err() != nil {
			t.Errorf("the lock is current: %t, lost: %v", check.Current, l.Err())
		}
		must(t, l.Release(ctx))
	})
}
