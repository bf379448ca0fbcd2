package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/certs"
	"github.com/sgkandale/sharelock/internal/meshhook"
	"github.com/sgkandale/sharelock/mesh"
)

// clusterName is the name of all clusters.
const clusterName = "testcluster"

// errState: a node that runs cannot be started, and one that does not run cannot be stopped.
var errState = errors.New("not possible now")

// node is one node of a cluster, over all its runs.
type node struct {
	cluster *Cluster
	index   int
	place   *place
	clock   *ratedClock
	pauses  *pauses

	// turn is held by the goroutine that starts or ends this node. It is not a mutex, because
	// that takes time, and a bubble's time stands still while a goroutine waits for a mutex.
	turn chan struct{}

	mu     sync.Mutex
	mesh   *mesh.Node     // nil while it does not run; guarded by mu
	ran    bool           // it has been started before; guarded by mu
	addrs  mesh.Addrs     // of the last run; guarded by mu
	client *client.Client // nil before the first run; guarded by mu
}

func (n *node) name() string { return "n" + strconv.Itoa(n.index) }

func (n *node) dir() string { return filepath.Join(n.cluster.dir, n.name()) }

func (n *node) current() *mesh.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mesh
}

func (n *node) addresses() mesh.Addrs {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.addrs
}

// config returns the node's configuration for its next start. first is set if it never ran.
func (n *node) config(first bool) mesh.Config {
	c := n.cluster
	cfg := mesh.DefaultConfig()
	cfg.Name = n.name()
	cfg.DataDir = n.dir()
	cfg.Cluster = clusterName
	if c.security != nil {
		c.security.config(n.name(), &cfg)
	}
	for _, seed := range c.all()[:c.opts.Nodes] {
		addr := seed.place.gossip
		if c.net != nil {
			addr = seed.name() + addr
		}
		cfg.Seeds = append(cfg.Seeds, addr)
	}
	// V0: a process that has nobody to ask founds a cluster only on command. The command is given
	// only once, or a node that was wiped would found another cluster.
	cfg.Found = first && n.index == 0 && c.opts.Nodes == 1
	cfg.HTTPListen, cfg.GRPCListen = n.place.http, n.place.grpc
	cfg.PeerListen, cfg.GossipListen = n.place.peer, n.place.gossip
	cfg.Lease = c.opts.Timing
	cfg.MaxTTL, cfg.DefaultTTL = c.opts.MaxTTL, c.opts.MaxTTL
	cfg.Logger = c.logs.of(n.index)
	cfg.Network = n.place.network()
	cfg.Hooks = &meshhook.Hooks{}
	if c.net != nil {
		cfg.Clock = n.clock.now // a bubble's clock, inside a bubble
		cfg.Hooks.Calls, cfg.Hooks.Links = tap{c, n.index}.options(), tap{c, n.index}.link
		cfg.Hooks.Pause = n.pauses.at
	}
	if c.opts.Configure != nil {
		c.opts.Configure(n.index, &cfg)
	}
	return cfg
}

// up starts the node. The first time, it also dials a client of the node.
func (n *node) up(ctx context.Context) error {
	n.turn <- struct{}{}
	defer func() { <-n.turn }()
	if n.current() != nil {
		return fmt.Errorf("start node %d: %w: it runs", n.index, errState)
	}
	err := n.cluster.leaks.watch(ctx, func(ctx context.Context) error {
		n.mu.Lock()
		first := !n.ran
		n.mu.Unlock()
		if first && n.cluster.security != nil {
			if err := n.cluster.Certify(n.index, n.cluster.CA(), []*certs.CA{n.cluster.CA()}); err != nil {
				return err
			}
		}
		m, err := mesh.New(n.config(first))
		if err != nil {
			return err
		}
		if err := m.Start(); err != nil {
			m.Kill()
			return err
		}
		n.mu.Lock()
		n.mesh, n.addrs, n.ran = m, m.Addrs(), true
		n.mu.Unlock()
		if !first {
			return nil
		}
		cl, err := n.cluster.dial(ctx, 1, client.Options{ClientID: "client-of-" + n.name(), OnlyAddrs: true}, []string{m.Addrs().GRPC})
		n.mu.Lock()
		n.client = cl
		n.mu.Unlock()
		return err
	})
	if err != nil {
		return fmt.Errorf("start node %d: %w", n.index, err)
	}
	n.cluster.history.note(Event{Kind: Started, Node: n.index})
	return nil
}

// take removes the running node and returns it to the caller, which holds turn and ends it.
func (n *node) take() *mesh.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.mesh
	n.mesh = nil
	return m
}

func (n *node) stop(ctx context.Context) error {
	n.turn <- struct{}{}
	defer func() { <-n.turn }()
	m := n.current()
	if m == nil {
		return fmt.Errorf("stop node %d: %w: it does not run", n.index, errState)
	}
	// The node stays visible until it has handed its keys over.
	err := m.Stop(ctx)
	n.take()
	n.cluster.history.note(Event{Kind: Stopped, Node: n.index})
	if err != nil {
		return fmt.Errorf("stop node %d: %w", n.index, err)
	}
	return nil
}

func (n *node) kill() {
	n.turn <- struct{}{}
	defer func() { <-n.turn }()
	m := n.take()
	if m == nil {
		return
	}
	n.cluster.history.note(Event{Kind: Killed, Node: n.index})
	n.place.down()
	m.Kill()
}

// end kills the node for good and releases its addresses.
func (n *node) end() error {
	n.kill()
	return n.place.close()
}

// Stop ends node i in good order: it hands its keys over and leaves the view (V7).
func (c *Cluster) Stop(ctx context.Context, i int) error { return c.at(i).stop(ctx) }

// Kill ends node i as a crash does: it tells nobody and loses its memory. A node that does
// not run is not affected.
func (c *Cluster) Kill(i int) { c.at(i).kill() }

// Restart starts node i again, at its addresses and with its data directory. It does not
// wait until the node has joined: see WaitReady.
func (c *Cluster) Restart(ctx context.Context, i int) error { return c.at(i).up(ctx) }

// Wipe removes the data directory of node i, which must not run. When the node is started
// again, it is a new member.
func (c *Cluster) Wipe(i int) error {
	n := c.at(i)
	n.turn <- struct{}{}
	defer func() { <-n.turn }()
	if n.current() != nil {
		return fmt.Errorf("wipe node %d: %w: it runs", i, errState)
	}
	c.history.note(Event{Kind: Wiped, Node: i})
	if err := os.RemoveAll(n.dir()); err != nil {
		return fmt.Errorf("wipe node %d: %w", i, err)
	}
	return nil
}

// Add starts one more node, which joins the mesh, and returns its number. It does not wait
// until the node has joined: see WaitReady.
func (c *Cluster) Add(ctx context.Context) (int, error) {
	n, err := c.addNode()
	if err != nil {
		return -1, fmt.Errorf("add a node: %w", err)
	}
	return n.index, n.up(ctx)
}
