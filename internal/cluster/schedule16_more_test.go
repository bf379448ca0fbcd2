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
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// (b), (c), (d), (l) A crash after a member was chosen because of a cut pair: before the mark, while a
// member is marked, and after it. The leader crashes, too, so that the next leader finds the mark.
func TestSchedule16bCrashAfterTheChoice(t *testing.T) {
	for k, crashed := range []int{0, 1} {
		for i, after := range []time.Duration{time.Second, 1900 * time.Millisecond, 2200 * time.Millisecond} {
			if sparse(3*k + i) {
				continue
			}
			tr := trouble{nodes: 4, replicas: 2, cuts: both(2, 3), crash: []int{crashed}, after: after}
			t.Run(fmt.Sprintf("%d after %v", crashed, after), func(t *testing.T) { virtual.Test(t, tr.run) })
		}
	}
}

// (e) Three nodes: two of them are cut, and the third crashes, so there is no majority until the pair
// is whole. Then all locks are still held.
func TestSchedule16eThreeNodes(t *testing.T) {
	for _, crashed := range []int{0, 2} {
		i, j := 1, 2
		if crashed == 2 {
			i, j = 0, 1
		}
		tr := trouble{nodes: 3, replicas: 2, cuts: both(i, j), crash: []int{crashed}, after: 2 * time.Second}
		t.Run(fmt.Sprintf("%d crashes", crashed), func(t *testing.T) { virtual.Test(t, tr.run) })
	}
}

// (f) Five nodes: one crashes, and two pairs of one member are cut.
func TestSchedule16fTwoPairs(t *testing.T) {
	for _, hub := range []int{0, 2} {
		ends := slices.DeleteFunc([]int{2, 3, 4}, func(i int) bool { return i == hub })[:2]
		tr := trouble{nodes: 5, replicas: 2, cuts: append(both(hub, ends[0]), both(hub, ends[1])...), crash: []int{1}}
		t.Run(tr.String(), func(t *testing.T) { virtual.Test(t, tr.run) })
	}
}

// (h) A member renews but answers nothing else. The mesh does not wait for it for ever: it is
// chosen, and does not answer through the leader's mailbox either.
func TestSchedule16hDeafMember(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, ctx := scene(t, 4, 2), patient(t)
		role := roles(c)
		m := role[3]
		for _, i := range others(c, m) {
			c.DropMessages(cluster.Messages{From: i, To: m, Kinds: []cluster.Kind{
				cluster.Ask, cluster.Fetch, cluster.Sync, cluster.Active, cluster.Entries, cluster.Calls, cluster.Ping,
			}})
		}
		c.DropMessages(cluster.Messages{From: m, To: cluster.Anyone, Kinds: []cluster.Kind{"Collect"}})
		begin := time.Now()
		trouble{}.served(ctx, t, c, begin)
		until(ctx, t, "it is out", func() bool { return len(members(c, role[0])) == 3 })
		if took, most := time.Since(begin), time.Second+2*sceneLease/5+2*sceneLease+sceneLease*11/10+sceneLease/2; took > most {
			t.Errorf("%s: a deaf member is out after %v, want %v", invariant.DeadGo, took, most)
		}
	})
}

// (j) R = 1 and no fault: members are asked to leave one right after the other. A member without a
// copy may be the last witness, so it stays until it was told of all partitions.
func TestSchedule16jTwoLeave(t *testing.T) {
	for _, apart := range []time.Duration{0, 20 * time.Millisecond, 200 * time.Millisecond} {
		t.Run(apart.String(), func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c, ctx := scene(t, 4, 1), patient(t)
				role := roles(c)
				cl := outside(ctx, t, c, "holder")
				locks := holdMany(ctx, t, cl)
				var wg sync.WaitGroup
				for k, i := range []int{role[3], role[2]} {
					wg.Go(func() {
						pause(ctx, time.Duration(k)*apart)
						if err := c.Stop(ctx, i); err != nil {
							t.Errorf("node %d leaves: %v", i, err)
						}
					})
				}
				wg.Wait()
				must(t, c.WaitMembers(ctx, 2))
				wantKept(ctx, t, cl, locks)
			})
		})
	}
}

func holdMany(ctx context.Context, t *testing.T, cl *client.Client) []*client.Lock {
	t.Helper()
	locks := make([]*client.Lock, keptLocks)
	var wg sync.WaitGroup
	for i, key := range keysNamed("kept", keptLocks) {
		wg.Go(func() {
			l, err := cl.Acquire(ctx, key, client.TTL(sceneMax))
			if err != nil {
				t.Errorf("acquire %s: %v", key, err)
			}
			locks[i] = l
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return locks
}

// wantKept checks that locks are still held.
func wantKept(ctx context.Context, t *testing.T, cl *client.Client, locks []*client.Lock) {
	t.Helper()
	for _, l := range locks {
		check, err := cl.CheckToken(ctx, l.Key(), l.Token())
		must(t, err)
		if !check.Current || l.Err() != nil {
			t.Errorf("%s: lock %s is current: %t, lost: %v", invariant.NothingLost, l.Key(), check.Current, l.Err())
		}
	}
}

// (k) The leader cannot call a member that can call the leader: relayed messages use calls of the
// member. And the reverse: the member cannot call the leader.
func TestSchedule16kOneWay(t *testing.T) {
	for k, x := range []cut{{0, 3, true}, {3, 0, true}} {
		for i, crash := range [][]int{nil, {1}} {
			if sparse(2*k + i) {
				continue
			}
			tr := trouble{nodes: 4, replicas: 2, cuts: []cut{x}, crash: crash}
			t.Run(tr.String(), func(t *testing.T) { virtual.Test(t, tr.run) })
		}
	}
}

// (m) Two joiners whose link is cut: they are not both members for long, the others serve, and what
// one of them came to own is not lost.
func TestSchedule16mTwoJoiners(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, ctx := scene(t, 4, 2), patient(t)
		role := roles(c)
		cl := outside(ctx, t, c, "holder")
		locks := holdMany(ctx, t, cl)
		a, b := role[2], role[3]
		for _, i := range []int{a, b} {
			must(t, c.Stop(ctx, i))
		}
		must(t, c.WaitMembers(ctx, 2))
		c.Cut(a, b)
		c.Cut(b, a)
		for _, i := range []int{a, b} {
			must(t, c.Restart(ctx, i))
		}
		trouble{}.served(ctx, t, c, time.Now())
		pause(ctx, 10*sceneLease)
		// One of the pair stays out, because it does not reach the other one.
		stop := never(t, string(invariant.Quiet)+": both of a cut pair are in", func() bool { return len(members(c, role[0])) > 3 })
		epoch := c.Epoch()
		pause(ctx, 30*time.Second)
		stop()
		if now := c.Epoch(); now != epoch {
			t.Errorf("%s: the view changed from %d to %d while nothing did", invariant.Quiet, epoch, now)
		}
		c.Heal()
		must(t, c.WaitMembers(ctx, 4))
		wantKept(ctx, t, cl, locks)
	})
}

// (n) A simple crash, of a member or of the leader: one wait, one view, and the leader changes only
// if it was the one that crashed.
func TestSchedule16nPlainCrash(t *testing.T) {
	for _, crashed := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d crashes", crashed), func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c, ctx := scene(t, 4, 2), patient(t)
				role := roles(c)
				cl := outside(ctx, t, c, "holder")
				locks := holdMany(ctx, t, cl)
				pause(ctx, sceneLease)
				left := others(c, role[crashed])
				before, leader := c.Node(left[0]).Status(), c.Leader()
				began := time.Now()
				c.Kill(role[crashed])
				until(ctx, t, "it is out", func() bool { return len(members(c, left[0])) == 3 })
				if took, most := time.Since(began), sceneLease*11/10+sceneLease; took > most {
					t.Errorf("%s: out after %v, want %v", invariant.DeadGo, took, most)
				}
				pause(ctx, 10*sceneLease)
				if now := c.Node(left[0]).Status(); crashed != 0 && c.Leader() != leader || now.Epoch == before.Epoch {
					t.Errorf("%s: node %d leads, before it was %d", invariant.Quiet, c.Leader(), leader)
				}
				wantKept(ctx, t, cl, locks)
			})
		})
	}
}

// (p) A process is killed and restarted within a second, with a renewal in flight. It is admitted
// after V5, and not refused for ever.
func TestSchedule16pRestartAtOnce(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, ctx := scene(t, 4, 2), patient(t)
		role := roles(c)
		m := role[2]
		cl := outside(ctx, t, c, "holder")
		locks := holdMany(ctx, t, cl)
		late := c.DelayMessages(cluster.Messages{From: m, To: cluster.Anyone, Kinds: []cluster.Kind{cluster.LeaseRequest}}, 300*time.Millisecond, 300*time.Millisecond)
		pause(ctx, sceneLease/2)
		c.Kill(m)
		began := time.Now()
		must(t, c.Restart(ctx, m))
		pause(ctx, 400*time.Millisecond)
		late.End()
		must(t, c.WaitMembers(waitAtMost(ctx, t, 4*sceneLease), 4))
		t.Logf("in again after %v", time.Since(began))
		wantKept(ctx, t, cl, locks)
	})
}

// A voter that has restarted is the only one that a cut member still calls, and is not in the view
// yet when that member has been silent for too long. It becomes the leader then (V5), and what only
// the cut member holds is not lost.
func TestSchedule16JoiningVoter(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, ctx := scene(t, 3, 2), patient(t)
		role := roles(c)
		leader, cut, again := role[0], role[1], role[2]
		cl := outside(ctx, t, c, "holder")
		locks := holdMany(ctx, t, cl)
		pause(ctx, sceneLease)
		c.Wall(cut, leader)
		c.Kill(again)
		pause(ctx, sceneLease/4)
		must(t, c.Restart(ctx, again))
		until(ctx, t, "it leads", func() bool { return c.Leader() == again })
		pause(ctx, 3*sceneLease)
		if lost := c.Node(again).Status().Quarantined + c.Node(cut).Status().Quarantined; lost > 0 {
			t.Errorf("%s: %d partitions are in quarantine", invariant.NothingLost, lost)
		}
		c.Heal()
		must(t, c.WaitMembers(waitAtMost(ctx, t, time.Minute), 3))
		wantKept(ctx, t, cl, locks)
	})
}
