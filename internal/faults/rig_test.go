package faults

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
)

// lease is the default, the unit of the promises.
const lease = 2 * time.Second

// rig is a mesh of processes, with operations on them.
type rig struct {
	t     testing.TB
	net   *network
	nodes []*node
	// spare is one more node, which was not started.
	spare *node
	// addrs are the addresses of the nodes that clients use.
	addrs []string
	// fronts are the relays in front of the nodes' client ports, if any.
	fronts []*relay
	// begun is closed when the fault begins; began is when.
	begun chan struct{}
	began time.Time
	// minority checks that a minority grants nothing.
	minority minority
}

// setup holds the differences between the meshes of faults.
type setup struct {
	// relayed: every node has a relay in front of it, for members and for clients, whose address the
	// node advertises.
	relayed bool
	// delay delays everything that members send to each other. loss means that one of so many gossip
	// packets is lost.
	delay time.Duration
	loss  int
	// smallDisks: the data directories can be filled.
	smallDisks bool
}

// newRig starts a mesh and returns when it is whole.
func newRig(t testing.TB, w *network, size int, s setup) *rig {
	t.Helper()
	r := &rig{t: t, net: w, begun: make(chan struct{})}
	r.minority.r = r
	w.heal()
	dir, binary := t.TempDir(), os.Getenv(binaryEnv)
	var seeds []string
	for i := range size {
		seeds = append(seeds, r.place(i, s))
	}
	for i := range size {
		settings := fmt.Sprintf("mesh:\n  insecure: true\n  seeds: [%s]\n", strings.Join(seeds, ", "))
		if s.relayed {
			settings += fmt.Sprintf("  peer_advertise: %s:50053\n  gossip_advertise: %s:7946\n", relayHost(i), relayHost(i))
		}
		n := newNode(t, i, binary, dir, settings)
		r.nodes = append(r.nodes, n)
		if s.smallDisks {
			n.smallDisk()
		}
	}
	r.spare = newNode(t, size, binary, dir, fmt.Sprintf("mesh:\n  insecure: true\n  seeds: [%s]\n", strings.Join(seeds, ", ")))
	for _, n := range r.nodes {
		n.start()
	}
	r.await("the mesh is born", 30*time.Second, func(ctx context.Context) bool { return r.whole(ctx, r.nodes) })
	return r
}

// place chooses a node's addresses, and starts relays there.
func (r *rig) place(i int, s setup) (seed string) {
	r.t.Helper()
	at := nodeHost(i)
	if s.relayed {
		at = relayHost(i)
		newRelay(r.t, at+":50053", nodeHost(i)+":50053", s.delay, 0)
		newRelay(r.t, at+":7946", nodeHost(i)+":7946", s.delay, s.loss)
		r.fronts = append(r.fronts, newRelay(r.t, at+":50052", nodeHost(i)+":50052", 0, 0))
	}
	r.addrs = append(r.addrs, at+":50052")
	return at + ":7946"
}

// client returns a client of all nodes. Its number decides which node it asks first.
func (r *rig) client(number int) *client.Client {
	r.t.Helper()
	first := number % len(r.addrs)
	addrs := append(append([]string(nil), r.addrs[first:]...), r.addrs[:first]...)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, addrs, client.Options{ClientID: fmt.Sprintf("client-%d", number)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() }) //nolint:errcheck // what it holds ends with its TTL
	return c
}

// await polls until ok returns true, and returns how long that took.
func (r *rig) await(what string, limit time.Duration, ok func(context.Context) bool) time.Duration {
	r.t.Helper()
	begin := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		done := ok(ctx)
		cancel()
		if done {
			return time.Since(begin)
		}
		if time.Since(begin) > limit {
			r.t.Fatalf("not within %v: %s", limit, what)
		}
		<-tick.C
	}
}

// whole reports whether each of the nodes is ready, sees exactly these members with as many voters as
// possible, and serves all that it owns.
func (r *rig) whole(ctx context.Context, nodes []*node) bool {
	voters := min(len(nodes)-(len(nodes)+1)%2, 5)
	return r.agree(ctx, nodes, voters)
}

// goesOn reports whether the nodes are ready, see exactly each other, and serve all that they own. Dead
// nodes may still be voters.
func (r *rig) goesOn(ctx context.Context, nodes []*node) bool { return r.agree(ctx, nodes, 0) }

func (r *rig) agree(ctx context.Context, nodes []*node, voters int) bool {
	epoch := uint32(0)
	for _, n := range nodes {
		if !n.ready(ctx) {
			return false
		}
		m := n.view(ctx)
		if m == nil || len(m.Members) != len(nodes) || epoch != 0 && m.Epoch != epoch {
			return false
		}
		epoch = m.Epoch
		voting := 0
		for _, member := range m.Members {
			if member.Name == n.name && member.Owns != m.Active {
				return false
			}
			if member.Voter {
				voting++
			}
		}
		if voting < voters {
			return false
		}
	}
	return true
}

// leader returns the node that is the Raft leader.
func (r *rig) leader() *node {
	r.t.Helper()
	var found *node
	r.await("there is a leader", 10*time.Second, func(ctx context.Context) bool {
		m := r.nodes[0].view(ctx)
		for _, n := range r.nodes {
			if m.Leader == n.name {
				found = n
			}
		}
		return found != nil
	})
	return found
}

// ownerOf returns the node that owns a key.
func (r *rig) ownerOf(key string) *node {
	r.t.Helper()
	var found *node
	r.await("the owner is known", 10*time.Second, func(ctx context.Context) bool {
		if r.nodes[0].view(ctx) == nil {
			return false
		}
		where, err := r.nodes[0].asked.Locate(ctx, key)
		for _, n := range r.nodes {
			if err == nil && where.Owner == n.name {
				found = n
			}
		}
		return found != nil
	})
	return found
}

// others returns the nodes that are not among these.
func (r *rig) others(these ...*node) []*node {
	var list []*node
	for _, n := range r.nodes {
		out := false
		for _, x := range these {
			out = out || x == n
		}
		if !out {
			list = append(list, n)
		}
	}
	return list
}

func hosts(nodes []*node) []string {
	var list []string
	for _, n := range nodes {
		list = append(list, n.host)
	}
	return list
}

// begin records that the fault begins now.
func (r *rig) begin() {
	r.began = time.Now()
	close(r.begun)
}

// last waits while a fault lasts.
func (r *rig) last(d time.Duration) { <-time.After(d) }

// healed waits until the mesh is whole again.
func (r *rig) healed() {
	r.t.Helper()
	d := r.await("the mesh is whole again", time.Minute, func(ctx context.Context) bool { return r.whole(ctx, r.nodes) })
	r.t.Logf("whole again %v after the end of the fault", d.Round(time.Millisecond))
}
