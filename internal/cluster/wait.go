package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sgkandale/sharelock/mesh"
)

// WaitReady waits until the running nodes are a whole mesh: see WaitAmong.
func (c *Cluster) WaitReady(ctx context.Context) error {
	return c.wait(ctx, "ready", func() string { return c.lacks(c.running(), -1) })
}

// WaitMembers waits until the running nodes are a whole mesh of n nodes.
func (c *Cluster) WaitMembers(ctx context.Context, n int) error {
	return c.wait(ctx, fmt.Sprintf("%d members", n), func() string { return c.lacks(c.running(), n) })
}

// WaitAmong waits until these nodes are a whole mesh, whatever the state of the others: all
// of them act in one view, whose members are exactly these nodes, hold their leases, serve
// every partition between them, and have as many voters as possible (V1), so that the mesh
// survives the faults that it should survive.
func (c *Cluster) WaitAmong(ctx context.Context, nodes ...int) error {
	return c.wait(ctx, fmt.Sprintf("a mesh of nodes %v", nodes), func() string { return c.lacks(nodes, len(nodes)) })
}

// WaitEpoch waits until every running node acts in this epoch or a later one.
func (c *Cluster) WaitEpoch(ctx context.Context, epoch uint32) error {
	return c.wait(ctx, fmt.Sprintf("epoch %d", epoch), func() string {
		for _, i := range c.running() {
			if m := c.Node(i); m != nil && m.Status().Epoch < epoch {
				return fmt.Sprintf("node %d is in epoch %d", i, m.Status().Epoch)
			}
		}
		return ""
	})
}

// wait polls until lacks returns "". The mesh has no event for such conditions, so this
// checks again every hundredth of a lease.
func (c *Cluster) wait(ctx context.Context, what string, lacks func() string) error {
	tick := time.NewTicker(max(c.opts.Timing/100, time.Millisecond))
	defer tick.Stop()
	for {
		missing := lacks()
		if missing == "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %s\n%s", what, context.Cause(ctx), missing, c.Describe())
		}
	}
}

// lacks says what these nodes lack to be a whole mesh of n nodes (any number if n is
// negative), or returns "".
func (c *Cluster) lacks(nodes []int, n int) string {
	if len(nodes) == 0 {
		return "no node runs"
	}
	if n >= 0 && len(nodes) != n {
		return fmt.Sprintf("%d nodes run", len(nodes))
	}
	var names []string
	for _, i := range nodes {
		names = append(names, c.Name(i))
	}
	slices.Sort(names)
	active, partitions, epoch, voters := 0, 0, uint32(0), 0
	for _, i := range nodes {
		m := c.Node(i)
		if m == nil {
			return fmt.Sprintf("node %d does not run", i)
		}
		if err := m.Ready(); err != nil {
			return fmt.Sprintf("node %d: %v", i, err)
		}
		v := viewOf(m)
		if epoch == 0 {
			epoch = v.epoch
		}
		if v.epoch != epoch {
			return fmt.Sprintf("node %d is in epoch %d, node %d in %d", nodes[0], epoch, i, v.epoch)
		}
		if missing := v.lacks(names); missing != "" {
			return fmt.Sprintf("node %d: %s", i, missing)
		}
		active, partitions = active+v.active, v.partitions
		if v.leads {
			voters = v.voters // only the leader knows their number for sure
		}
	}
	// V1: an odd number, at most five. A voter that died keeps its seat until another member
	// can take it.
	if want := min(len(nodes)-(1-len(nodes)%2), 5); voters < want {
		return fmt.Sprintf("the leader has %d live voters of %d", voters, want)
	}
	if active != partitions {
		return fmt.Sprintf("%d of %d partitions are active", active, partitions)
	}
	return ""
}

// nodeView is the part of a node's view that the waits check.
type nodeView struct {
	epoch              uint32
	active, partitions int
	members            []string // in the order of their names
	leaving            string   // a member that is leaving
	leads              bool     // the node itself is the leader
	voters             int
}

func viewOf(m *mesh.Node) nodeView {
	st := m.Status()
	v := nodeView{epoch: st.Epoch, active: st.Active, partitions: st.Partitions, leads: st.Leader == st.Node}
	for _, m := range st.Members {
		v.members = append(v.members, m.Name)
		if m.Leaving {
			v.leaving = m.Name
		}
		if m.Voter {
			v.voters++
		}
	}
	slices.Sort(v.members)
	return v
}

// lacks says how the view differs from that of a whole mesh of these members, or returns "".
func (v nodeView) lacks(names []string) string {
	if !slices.Equal(v.members, names) {
		return fmt.Sprintf("its view has the members %v, not %v", v.members, names)
	}
	if v.leaving != "" {
		return v.leaving + " is leaving"
	}
	return ""
}

// Describe shows each node's own view of the mesh, one line a node.
func (c *Cluster) Describe() string {
	var b strings.Builder
	for _, n := range c.all() {
		m := n.current()
		if m == nil {
			fmt.Fprintf(&b, "node %d does not run\n", n.index)
			continue
		}
		st, ready := m.Status(), "ready"
		if err := m.Ready(); err != nil {
			ready = err.Error()
		}
		fmt.Fprintf(&b, "node %d: %s; epoch %d, leader %q, lease %v, R=%d, %d partitions active, %d quarantined\n",
			n.index, ready, st.Epoch, st.Leader, st.LeaseRemaining.Round(time.Millisecond), st.Replicas, st.Active, st.Quarantined)
		for _, m := range st.Members {
			fmt.Fprintf(&b, "    member %s %s.%s owns %d, backs %d, voter %t, leaving %t, peer %s\n",
				m.Name, m.ID, m.Incarnation, m.Owns, m.Backs, m.Voter, m.Leaving, m.Peer)
		}
	}
	if c.net != nil {
		fmt.Fprintln(&b, c.net)
	}
	return b.String()
}
