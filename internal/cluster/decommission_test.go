package cluster_test

import (
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// V1: one of three voters dies and is decommissioned through any node, the leader or another. Then
// two seats are left, and the next member that joins takes one.
func TestSimDecommission(t *testing.T) {
	for _, byLeader := range []bool{false, true} {
		virtual.Test(t, func(t *testing.T) {
			c, ctx := scene(t, 3, 2), patient(t)
			leader := c.Leader()
			rest := others(c, leader)
			dead, from := rest[0], rest[1]
			if byLeader {
				from = leader
			}
			if err := c.Node(from).Decommission(ctx, c.Name(dead)); err == nil || !strings.Contains(err.Error(), "is not absent") {
				t.Errorf("a node that is there is decommissioned: %v", err)
			}
			if err := c.Node(from).Decommission(ctx, "nobody"); err == nil || !strings.Contains(err.Error(), "nobody") {
				t.Errorf("nobody is decommissioned: %v", err)
			}
			c.Kill(dead)
			must(t, c.Wipe(dead))
			must(t, c.WaitAmong(ctx, leader, rest[1]))
			until(ctx, t, "the seat is shown absent", func() bool {
				st := c.Node(from).Status()
				for _, s := range st.Seats {
					if s.Absent && s.Name == c.Name(dead) {
						return len(st.Seats) == 3 && st.Survives == 0
					}
				}
				return false
			})
			must(t, c.Node(from).Decommission(ctx, c.Name(dead)))
			until(ctx, t, "two seats are left", func() bool { return len(c.Node(from).Status().Seats) == 2 })
			must(t, c.Restart(ctx, dead))
			must(t, c.WaitMembers(ctx, 3))
			until(ctx, t, "three seats answer", func() bool {
				st := c.Node(from).Status()
				return len(st.Seats) == 3 && st.Survives == 1
			})
		})
	}
}

// V7: a node that leaves for good gives up its seat; one that stops keeps it.
func TestSimLeaveForGood(t *testing.T) {
	for _, forGood := range []bool{false, true} {
		virtual.Test(t, func(t *testing.T) {
			c, ctx := scene(t, 3, 2), patient(t)
			leader := c.Leader()
			must(t, c.Node(leader).Leave(ctx, forGood))
			must(t, c.Stop(ctx, leader))
			rest := others(c, leader)
			must(t, c.WaitAmong(ctx, rest...))
			want := 3
			if forGood {
				want = 2
			}
			until(ctx, t, "the seats are as wanted", func() bool { return len(c.Node(rest[0]).Status().Seats) == want })
			must(t, c.Restart(ctx, leader))
			must(t, c.WaitMembers(ctx, 3))
			until(ctx, t, "three seats answer", func() bool { return c.Node(rest[0]).Status().Survives == 1 })
		})
	}
}
