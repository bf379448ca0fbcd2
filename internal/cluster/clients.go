package cluster

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/clientid"
)

// Client returns the client of node i. It calls no other node, and the cluster closes it.
// While the node does not run, or cannot serve, its calls fail after the client's
// patience. See Dial for clients that try other nodes.
func (c *Cluster) Client(i int) *client.Client {
	n := c.at(i)
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.client
}

// Dial returns a client of the given nodes. It calls the first one until that fails, then
// the next, and never another node. Without nodes it is a client of all nodes and learns
// which of them owns which key. The cluster closes it at its end, if it is still open.
//
// The client's calls are recorded in the History under opts.ClientID.
func (c *Cluster) Dial(ctx context.Context, opts client.Options, nodes ...int) (*client.Client, error) {
	return c.DialRate(ctx, 1, opts, nodes...)
}

// DialRate is Dial for a client whose clock runs at a rate, see [Cluster.SetRate].
func (c *Cluster) DialRate(ctx context.Context, rate float64, opts client.Options, nodes ...int) (*client.Client, error) {
	opts.OnlyAddrs = opts.OnlyAddrs || len(nodes) > 0
	if len(nodes) == 0 {
		for i := range c.Len() {
			nodes = append(nodes, i)
		}
	}
	var addrs []string
	for _, i := range nodes {
		addrs = append(addrs, c.Addrs(i).GRPC)
	}
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	var cl *client.Client
	err := c.leaks.watch(ctx, func(ctx context.Context) (err error) {
		cl, err = c.dial(ctx, rate, opts, addrs)
		return err
	})
	return cl, err
}

func (c *Cluster) dial(ctx context.Context, rate float64, opts client.Options, addrs []string) (*client.Client, error) {
	if opts.ClientID == "" {
		opts.ClientID = clientid.Default()
	}
	recorded := []grpc.DialOption{grpc.WithChainUnaryInterceptor(c.history.intercept(opts.ClientID, rate))}
	hooks := clienthook.Hooks{Control: c.control}
	hooks.Sessions = func(addr string, f clienthook.Frames) clienthook.Frames {
		if c.net != nil {
			f = tap{c, Clients}.session(addr, f)
		}
		return c.history.record(f, opts.ClientID, rate)
	}
	if opts.Dialer == nil && c.net != nil && c.security == nil {
		opts.Dialer = c.net.Host("clients").Dial
	}
	if opts.Dialer == nil && c.security != nil {
		opts.Dialer = c.dialSecure
	}
	if c.net != nil {
		recorded = append(recorded, tap{c, Clients}.options()...)
	}
	if opts.Transport == 0 && len(opts.DialOptions) == 0 {
		opts.Transport = client.TransportPlain // our own dial options must not switch it to gRPC
	}
	if c.net != nil || rate != 1 {
		hooks.Clock = newClock(rate).now
	}
	opts.DialOptions = append(recorded, opts.DialOptions...)
	cl, err := client.Dial(clienthook.With(ctx, hooks), addrs, opts)
	if err != nil {
		return nil, fmt.Errorf("client of %v: %w", addrs, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		// Nobody else closes this client. Close runs in the background, because nobody needs its result.
		go cl.Close() //nolint:errcheck // the caller gets errClosed
		return nil, errClosed
	}
	c.dialled = append(c.dialled, cl)
	return cl, nil
}

// dialSecure opens a TLS connection to an address of the cluster from the clients' machine.
func (c *Cluster) dialSecure(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := c.DialContext(ctx, addr)
	if err != nil {
		return nil, err
	}
	return c.security.dial(ctx, conn)
}

// DialContext opens a connection to an address of the cluster from the clients' machine.
func (c *Cluster) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	if c.net != nil {
		return c.net.Host("clients").Dial(ctx, addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}
