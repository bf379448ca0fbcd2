package testcluster

import (
	"context"
	"net"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/mesh"
)

// Addrs are the addresses of a node.
type Addrs struct {
	// HTTP and GRPC are for clients.
	HTTP, GRPC string
	// Peer and Gossip are for other members.
	Peer, Gossip string
}

// Len returns the number of nodes, running or not.
func (c *Cluster) Len() int { return c.in.Len() }

// Name returns the name of node i, as locks and views show it.
func (c *Cluster) Name(i int) string { return c.in.Name(i) }

// Addrs returns the addresses of node i, which it keeps when it restarts. On [Memory] they can be
// reached with DialContext only.
func (c *Cluster) Addrs(i int) Addrs {
	a := c.in.Addrs(i)
	return Addrs{HTTP: a.HTTP, GRPC: a.GRPC, Peer: a.Peer, Gossip: a.Gossip}
}

// Node returns node i, or nil while it does not run. Calls made on it directly are not recorded in
// the History. Package mesh makes no promise of compatibility.
func (c *Cluster) Node(i int) *mesh.Node { return c.in.Node(i) }

// Client returns a client of node i, which calls no other node. The cluster closes it. While the node
// does not run, the client's calls fail after its patience. Clients that Dial returns use another node
// then.
func (c *Cluster) Client(i int) *client.Client { return c.in.Client(i) }

// Dial returns a client of the given nodes, which calls the first until that fails, then the next.
// Without nodes it is a client of the whole mesh, which learns who owns which key. The cluster
// closes it when it ends.
//
// The client's calls are recorded in the History, under opts.ClientID.
func (c *Cluster) Dial(ctx context.Context, opts client.Options, nodes ...int) (*client.Client, error) {
	return c.in.Dial(ctx, opts, nodes...)
}

// DialContext opens a connection to an address of the cluster from the clients' machine. Use it as the
// client.Options.Dialer of clients that the program under test creates itself. On [Loopback] it is a
// plain TCP dial. Such clients use real time, so in a bubble of testing/synctest a program must be given
// a client that Dial returned.
func (c *Cluster) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	return c.in.DialContext(ctx, addr)
}

// Add starts one more node, which joins the mesh, and returns its number. It does not wait until
// the node has joined; see WaitReady.
func (c *Cluster) Add(ctx context.Context) (int, error) { return c.in.Add(ctx) }

// Stop ends node i in good order: the node hands its keys over and leaves the view.
func (c *Cluster) Stop(ctx context.Context, i int) error { return c.in.Stop(ctx, i) }

// Kill ends node i as a crash does: the node tells nobody and loses its memory. Its data directory
// stays. Kill does nothing to a node that does not run.
func (c *Cluster) Kill(i int) { c.in.Kill(i) }

// Restart starts node i again, at its addresses and with its data directory. It does not wait until
// the node has joined; see WaitReady.
func (c *Cluster) Restart(ctx context.Context, i int) error { return c.in.Restart(ctx, i) }

// Wipe removes the data directory of node i, which must not run. When the node starts again it is
// a new member.
func (c *Cluster) Wipe(i int) error { return c.in.Wipe(i) }
