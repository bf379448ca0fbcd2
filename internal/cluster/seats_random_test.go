package cluster_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// Three or five nodes go down one after the other, by SIGTERM or by kill -9, in any order and with
// any intervals, and perhaps one directory is lost. Then any majority of those that had a seat comes
// back in any order and forms the mesh again; then so do all (V1, schedule 17).
func TestSchedule17AnyOrder(t *testing.T) {
	for seed := range troubles(t) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) { anyOrder(t, rand.New(rand.NewPCG(uint64(seed), 17))) })
		})
	}
}

func anyOrder(t *testing.T, rnd *rand.Rand) {
	n := 3 + 2*rnd.IntN(2)
	c, ctx := scene(t, n, 2), patient(t)
	must(t, c.WaitMembers(ctx, n))
	// After a renewal all members know of a change of the seats.
	away := func() { pause(ctx, sceneLease/4+time.Duration(rnd.Int64N(int64(3*sceneLease)))) }
	away()
	seats := seatsNow(c)
	var story strings.Builder
	for _, i := range rnd.Perm(n) {
		if rnd.IntN(2) == 0 {
			fmt.Fprintf(&story, "kill %d, ", i)
			c.Kill(i)
		} else {
			fmt.Fprintf(&story, "stop %d, ", i)
			must(t, c.Stop(ctx, i))
		}
		away()
		if now := seatsNow(c); now != nil {
			seats = now
		}
	}
	lost := rnd.IntN(2*n) - n // none, half of the time
	if lost >= 0 {
		must(t, c.Wipe(lost))
	}
	holders := slices.DeleteFunc(slices.Clone(seats), func(i int) bool { return i == lost })
	rnd.Shuffle(len(holders), func(i, j int) { holders[i], holders[j] = holders[j], holders[i] })
	back := holders[:len(seats)/2+1]
	t.Logf("%sseats %v, lost %d, back %v", story.String(), seats, lost, back)
	for _, i := range back {
		must(t, c.Restart(ctx, i))
		away()
	}
	must(t, c.WaitAmong(waitAtMost(ctx, t, time.Minute), back...))
	for _, i := range rnd.Perm(n) {
		if c.Node(i) == nil {
			must(t, c.Restart(ctx, i))
			away()
		}
	}
	must(t, c.WaitMembers(waitAtMost(ctx, t, time.Minute), n))
}

// seatsNow returns the nodes with a seat, as the leader shows them; nil if there is no leader.
func seatsNow(c *cluster.Cluster) (list []int) {
	leader := c.Leader()
	if leader < 0 || c.Node(leader) == nil {
		return nil
	}
	for _, s := range c.Node(leader).Status().Seats {
		for i := range c.Len() {
			if c.Name(i) == s.Name {
				list = append(list, i)
			}
		}
	}
	return list
}

// V1: two of five nodes die. The mesh keeps their seats for the seat grace and then gives up both,
// so that it survives the loss of a third node.
func TestSimSeatGrace(t *testing.T) {
	const grace = 20 * time.Second
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(inRAM(t), cluster.Options{
			Net: cluster.Memory, Nodes: 5, Timing: sceneLease, MaxTTL: sceneMax,
			Configure: func(i int, cfg *mesh.Config) {
				copies(2)(i, cfg)
				cfg.SeatGrace = grace
			},
		})
		ctx := patient(t)
		must(t, c.WaitMembers(ctx, 5))
		leader := c.Leader()
		rest := others(c, leader)
		c.Kill(rest[0])
		pause(ctx, grace/2)
		c.Kill(rest[1])
		must(t, c.WaitAmong(ctx, leader, rest[2], rest[3]))
		absent := func() (n int) {
			for _, s := range c.Node(leader).Status().Seats {
				if s.Absent {
					n++
				}
			}
			return n
		}
		pause(ctx, grace*3/4) // the grace of the first one is over, but there is no pair yet
		if st := c.Node(leader).Status(); len(st.Seats) != 5 || absent() != 2 || st.Survives != 0 {
			t.Errorf("seats %v, survives %d", st.Seats, st.Survives)
		}
		until(waitAtMost(ctx, t, grace/2), t, "the pair of seats is given up", func() bool {
			return len(c.Node(leader).Status().Seats) == 3 && c.Node(leader).Status().Survives == 1
		})
		c.Kill(rest[2])
		must(t, c.WaitAmong(waitAtMost(ctx, t, 10*sceneLease), leader, rest[3]))
	})
}
