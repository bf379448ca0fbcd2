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

// startTime bounds the start of a cluster, in the cluster's own time.
const startTime = 30 * time.Second

// Cluster is a mesh of nodes in this program. Nodes are numbered from 0, and a node keeps its
// number for ever. All methods are safe for concurrent use. Two calls that start or end the
// same node run one after the other.
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
	ownDir   bool // Close removes dir

	mu    sync.Mutex
	nodes []*node // only appended to; guarded by mu
	// dialled lists the clients that Close closes. Guarded by mu.
	dialled []*client.Client
	// controls holds the clients' controls. Guarded by mu.
	controls []clienthook.Control
	closed   bool // guarded by mu
	// watchings lists the watches that are checked. Guarded by mu.
	watchings []*Watching

	closing  sync.Once
	closeErr error
}

// New starts a cluster and returns when it is ready, see [Cluster.WaitReady]. ctx bounds
// only the start. The caller must call Close and may inspect History and Check. Without a
// test, violations are not reported automatically.
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

// Start is New for a test. It fails the test if the cluster does not start. When the test
// ends, it closes the cluster and checks all invariants.
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

// boot creates the founding nodes and starts them, in parallel because each of them syncs files.
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

// addNode creates a node without starting it. The founding nodes are its seeds.
func (c *Cluster) addNode() (*node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	n := &node{cluster: c, index: len(c.nodes), clock: newClock(1), pauses: newPauses(), turn: make(chan struct{}, 1)}
	var err error
	if c.net != nil {
		n.place = memoryPlace(c.net, n.name()) // creates the machine, so that its name can be resolved
	} else if n.place, err = loopbackPlace(); err != nil {
		return nil, err
	}
	c.nodes = append(c.nodes, n)
	return n, nil
}

var errClosed = errors.New("the cluster is closed")

// all returns the nodes, running or not.
func (c *Cluster) all() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

// at returns node i. It panics if there is no such node, because then the test is wrong.
func (c *Cluster) at(i int) *node {
	nodes := c.all()
	if i < 0 || i >= len(nodes) {
		panic(fmt.Sprintf("cluster: node %d of %d", i, len(nodes)))
	}
	return nodes[i]
}

// running returns the numbers of the running nodes.
func (c *Cluster) running() []int {
	var list []int
	for _, n := range c.all() {
		if n.current() != nil {
			list = append(list, n.index)
		}
	}
	return list
}

// Len returns the number of nodes, running or not.
func (c *Cluster) Len() int { return len(c.all()) }

// Node returns node i, or nil while it does not run. Calls made on it directly are not
// recorded in the History.
func (c *Cluster) Node(i int) *mesh.Node { return c.at(i).current() }

// Addrs returns the addresses of node i, which it keeps when it restarts.
func (c *Cluster) Addrs(i int) mesh.Addrs { return c.at(i).addresses() }

// Name returns the name of node i in views, which is also the name of its machine on [Cluster.MemNet].
func (c *Cluster) Name(i int) string { return c.at(i).name() }

// Owner returns the number of the node that owns the key in the newest view in which a
// running node acts. It is -1 if no node is in a view, or if the owner is not of this cluster.
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

// Leader returns the number of the Raft leader, as a node with a valid lease knows it, or -1
// if no node knows it.
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

// Epoch returns the newest epoch in which a running node acts, or 0 if there is none.
func (c *Cluster) Epoch() uint32 {
	epoch := uint32(0)
	for _, n := range c.all() {
		if m := n.current(); m != nil {
			epoch = max(epoch, m.Status().Epoch)
		}
	}
	return epoch
}

// History returns the record of what the cluster's clients did and saw.
func (c *Cluster) History() *History { return c.history }

// MemNet returns the memory network, or nil on loopback. Its machines have the names of the
// nodes; one more is named "clients".
func (c *Cluster) MemNet() *MemNet { return c.net }

// Timing returns the length of the view lease.
func (c *Cluster) Timing() time.Duration { return c.opts.Timing }

// MaxTTL returns the longest allowed TTL.
func (c *Cluster) MaxTTL() time.Duration { return c.opts.MaxTTL }

// Close ends all clients, and ends all nodes as a crash would. It may be called again. Start
// calls it at the end of the test.
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
