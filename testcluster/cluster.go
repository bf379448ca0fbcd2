package testcluster

import (
	"context"

	"github.com/sgkandale/sharelock/internal/cluster"
)

// Cluster is a mesh of nodes in this process. Its nodes have numbers from 0. All methods are safe
// for concurrent use.
//
// A method that takes the number of a node panics if the cluster never had such a node.
type Cluster struct {
	in *cluster.Cluster
}

// New starts a cluster and returns when it is ready; see [Cluster.WaitReady]. ctx bounds only the start.
// New is for programs and examples: there is no test to fail, so the caller must call Close, and may
// call Check to learn of violated invariants.
func New(ctx context.Context, o Options) (*Cluster, error) {
	in, err := cluster.New(ctx, o.internal())
	if err != nil {
		return nil, err
	}
	return &Cluster{in}, nil
}

// Start starts a cluster for a test and returns when it is ready. It fails the test if the cluster
// does not start. When the test ends, the cluster is closed and all invariants are checked.
func Start(tb TB, o Options) *Cluster {
	tb.Helper()
	return &Cluster{cluster.Start(tb, o.internal())}
}

// Close closes the clients of the cluster and then ends all nodes as a crash would. Start calls it
// when the test ends; calling it again does nothing.
func (c *Cluster) Close() error { return c.in.Close() }

// Owner returns the node that owns the key in the newest view of a running node, or -1 if no node
// is in a view.
func (c *Cluster) Owner(key string) int { return c.in.Owner(key) }

// Leader returns the node that is the Raft leader, which decides about views, or -1 if no running node
// knows it.
func (c *Cluster) Leader() int { return c.in.Leader() }

// Epoch returns the newest epoch of a running node, or 0 if no node is in a view. Every change of
// the membership begins a new epoch.
func (c *Cluster) Epoch() uint32 { return c.in.Epoch() }

// Describe returns a text that shows each node's own view of the mesh, for the message of a
// failure.
func (c *Cluster) Describe() string { return c.in.Describe() }

// WaitReady blocks until the running nodes form a whole mesh: all of them are in one view that has
// no other members, hold their leases, serve every partition and have as many voters as the mesh
// can have, so that it survives the failures that it should survive.
func (c *Cluster) WaitReady(ctx context.Context) error { return c.in.WaitReady(ctx) }

// WaitMembers blocks until the running nodes form a whole mesh of n members; see WaitReady.
func (c *Cluster) WaitMembers(ctx context.Context, n int) error { return c.in.WaitMembers(ctx, n) }

// WaitAmong blocks until these nodes form a whole mesh, whatever the state of the other nodes; see
// WaitReady.
func (c *Cluster) WaitAmong(ctx context.Context, nodes ...int) error {
	return c.in.WaitAmong(ctx, nodes...)
}

// WaitEpoch blocks until every running node is in the given epoch or a later one.
func (c *Cluster) WaitEpoch(ctx context.Context, epoch uint32) error {
	return c.in.WaitEpoch(ctx, epoch)
}
