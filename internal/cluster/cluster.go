package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/mesh"
)

// startTime bounds the start of a cluster, by the clock that it lives in.
const startTime = 30 * time.Second

// Cluster is a mesh of nodes in this program. Nodes have numbers from 0, which
// they keep whatever happens to them. All methods are safe for concurrent use;
// two that start or end the same node take turns.
type Cluster struct {
	opts    Options
	start   time.Time
	history *History
	logs    *logs
	leaks   leaks
	net     *MemNet
	rules   *rules
	actives *actives
	// security is nil without Options.TLS.
	security *security
	dir      string
	ownDir   bool // dir is ours to remove

	mu    sync.Mutex
	nodes []*node // only appended to; guarded by mu
	// dialled are the clients that Close closes. Guarded by mu.
	dialled []*client.Client
	// controls are those of the clients. Guarded by mu.
	controls []clienthook.Control
	closed   bool // guarded by mu
	// watchings are the watches that are checked. Guarded by mu.
	watchings []*Watching

	closing  sync.Once
	closeErr error
}

// New starts a cluster and returns when it is ready, see [Cluster.WaitReady]. ctx
// bounds the start only. The caller calls Close, and may look at History and
// Check; nothing fails by itself, as there is no test.
func New(ctx context.Context, o Options) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "testcluster-")
	if err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	c := newCluster(o, dir)
	c.ownDir = true
	if err := c.boot(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start cluster: %w", err), c.Close())
	}
	return c, nil
}

// Start is New for a test: it fails the test if the cluster does not start, and
// when the test ends closes the cluster and checks all invariants.
func Start(tb TB, o Options) *Cluster {
	tb.Helper()
	c := newCluster(o, tb.TempDir())
	tb.Cleanup(func() { c.finish(tb) })
	ctx, cancel := context.WithTimeout(tb.Context(), startTime)
	defer cancel()
	if err := c.boot(ctx); err != nil {
		tb.Fatalf("start cluster: %v", err)
	}
	return c
}

func newCluster(o Options, dir string) *Cluster {
	o = o.withDefaults()
	c := &Cluster{opts: o, start: time.Now(), dir: dir, leaks: newLeaks(o.Timing)}
	c.history = newHistory(c.start)
	c.logs = newLogs(o, c.start)
	c.rules, c.actives = newRules(o.Seed), newActives(c.history.fail)
	if o.Net == Memory {
		c.net = NewMemNet(o.Seed)
	}
	return c
}

// boot makes the founding nodes and starts them, in parallel since each of them
// syncs files.
func (c *Cluster) boot(ctx context.Context) (err error) {
	if c.opts.TLS != NoTLS {
		if c.security, err = newSecurity(c.dir, c.opts.TLS); err != nil {
			return err
		}
	}
	var made []*node
	for range c.opts.Nodes {
		n, err := c.addNode()
		if err != nil {
			return err
		}
		made = append(made, n)
	}
	errs := make([]error, len(made))
	var wg sync.WaitGroup
	for i, n := range made {
		wg.Go(func() { errs[i] = n.up(ctx) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.WaitReady(ctx)
}

// addNode makes a node that does not run yet. The founding nodes are its seeds.
func (c *Cluster) addNode() (*node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	n := &node{cluster: c, index: len(c.nodes), clock: newClock(1), pauses: newPauses(), turn: make(chan struct{}, 1)}
	var err error
	if c.net != nil {
		n.place = memoryPlace(c.net, n.name()) // makes the machine, so that its name can be resolved
	} else if n.place, err = loopbackPlace(); err != nil {
		return nil, err
	}
	c.nodes = append(c.nodes, n)
	return n, nil
}

var errClosed = errors.New("the cluster is closed")

// all gives the nodes, running or not.
func (c *Cluster) all() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

// at gives a node; a number that was never given is a mistake in the test.
func (c *Cluster) at(i int) *node {
	nodes := c.all()
	if i < 0 || i >= len(nodes) {
		panic(fmt.Sprintf("cluster: node %d of %d", i, len(nodes)))
	}
	return nodes[i]
}

// running gives the numbers of the nodes that run.
func (c *Cluster) running() []int {
	var list []int
	for _, n := range c.all() {
		if n.current() != nil {
			list = append(list, n.index)
		}
	}
	return list
}

// Len is how many nodes there are, running or not.
func (c *Cluster) Len() int { return len(c.all()) }

// Node is node i; nil while it does not run. Calls made on it directly are not in
// the History.
func (c *Cluster) Node(i int) *mesh.Node { return c.at(i).current() }

// Addrs are the addresses of node i, which it keeps when it restarts.
func (c *Cluster) Addrs(i int) mesh.Addrs { return c.at(i).addresses() }

// Name is the name of node i in views, and of its machine on [Cluster.MemNet].
func (c *Cluster) Name(i int) string { return c.at(i).name() }

// Owner is the node that owns the key in the newest view that a running node acts
// in; -1 if no node is in a view, or the owner is none of ours.
func (c *Cluster) Owner(key string) int {
	owner, epoch := "", uint32(0)
	nodes := c.all()
	for _, n := range nodes {
		if m := n.current(); m != nil {
			if at, err := m.Locate(key); err == nil && at.Epoch > epoch {
				owner, epoch = at.Owner, at.Epoch
			}
		}
	}
	return slices.IndexFunc(nodes, func(n *node) bool { return n.name() == owner })
}

// Leader is the node that leads Raft, as a node that has a valid lease knows; -1
// if nobody knows.
func (c *Cluster) Leader() int {
	nodes := c.all()
	for _, n := range nodes {
		if m := n.current(); m != nil {
			if st := m.Status(); st.LeaseValid && st.Leader != "" {
				return slices.IndexFunc(nodes, func(n *node) bool { return n.name() == st.Leader })
			}
		}
	}
	return -1
}

// Epoch is the newest epoch that a running node acts in; 0 is none.
func (c *Cluster) Epoch() uint32 {
	epoch := uint32(0)
	for _, n := range c.all() {
		if m := n.current(); m != nil {
			epoch = max(epoch, m.Status().Epoch)
		}
	}
	return epoch
}

// History is what the clients of the cluster did and saw.
func (c *Cluster) History() *History { return c.history }

// MemNet is the memory network, whose machines are called as the nodes are, and
// "clients"; nil on loopback.
func (c *Cluster) MemNet() *MemNet { return c.net }

// Timing is the length of the view lease.
func (c *Cluster) Timing() time.Duration { return c.opts.Timing }

// MaxTTL is the longest TTL.
func (c *Cluster) MaxTTL() time.Duration { return c.opts.MaxTTL }

// Close ends all clients and, as a crash would, all nodes. It may be called
// again; Start calls it at the end of the test.
func (c *Cluster) Close() error {
	c.closing.Do(func() { c.closeErr = c.close() })
	return c.closeErr
}

func (c *Cluster) close() error {
	c.mu.Lock()
	c.closed = true
	clients, nodes, watchings := c.dialled, c.nodes, c.watchings
	c.dialled = nil
	c.mu.Unlock()
	for _, w := range watchings {
		w.cancel()
	}
	for _, n := range nodes {
		n.pauses.end()
	}
	c.rules.close()
	var wg sync.WaitGroup
	errs := make([]error, len(clients)+len(nodes), len(clients)+len(nodes)+1)
	for i, cl := range clients {
		wg.Go(func() { errs[i] = cl.Close() })
	}
	wg.Wait()
	for _, w := range watchings {
		<-w.ended
	}
	for i, n := range nodes {
		wg.Go(func() { errs[len(clients)+i] = n.end() })
	}
	wg.Wait()
	if c.ownDir {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close cluster: %w", err)
	}
	return nil
}
