package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

const (
	// learnEvery is the shortest time between two requests for the owners.
	learnEvery = 100 * time.Millisecond
	// learnTime bounds one request.
	learnTime = 2 * time.Second
	// shunTime is how long calls avoid a node that could not serve one.
	shunTime = time.Second
)

// owners knows which node owns which key, so that a call usually goes to the owner and need not be forwarded.
// It is only a hint: every node accepts every call, and a member decides by itself whether it owns the key. It
// is learned from the mesh in the background, when a call shows that it is out of date.
type owners struct {
	c     *Client
	table atomic.Pointer[table]

	mu sync.Mutex
	// learning is set while a request is in flight; next is when the next one may be sent. Guarded by mu.
	learning bool
	next     time.Duration
	// found are nodes that are not among the addresses given, by address. They are dropped when they are no
	// members and keep no locks alive. Guarded by mu.
	found map[string]*node
}

// table has the owners of all partitions in one epoch. It is immutable.
type table struct {
	epoch uint32
	// nodes has the owner of each partition.
	nodes []*node
}

// of returns the node that owns a key, or nil if that is not known or the node is avoided.
func (o *owners) of(key string) *node {
	if key == "" || o.c.opts.OnlyAddrs {
		return nil
	}
	t := o.table.Load()
	if t == nil {
		o.learn()
		return nil
	}
	n := t.nodes[xxhash.Sum64String(key)%uint64(len(t.nodes))]
	if o.c.shuns(n) {
		return nil
	}
	return n
}

// shuns reports whether calls avoid a node for now. It reads the clock only for nodes that doubt was called for.
func (c *Client) shuns(n *node) bool {
	until := n.shunned.Load()
	return until != 0 && c.now() < time.Duration(until)
}

// doubt records that a node could not serve. For a while calls for its keys go to other nodes.
func (o *owners) doubt(n *node) {
	n.shunned.Store(int64(o.c.now() + shunTime))
	o.learn()
}

// saw is called with the epoch of every grant. A newer one means that keys have moved.
func (o *owners) saw(epoch uint32) {
	if t := o.table.Load(); t != nil && epoch > t.epoch {
		o.learn()
	}
}

// learn requests the owners in the background, unless a request is in flight or was recently.
func (o *owners) learn() {
	if o.c.opts.OnlyAddrs {
		return
	}
	now := o.c.now()
	o.mu.Lock()
	busy := o.learning || now < o.next
	if !busy {
		o.learning, o.next = true, now+learnEvery
	}
	o.mu.Unlock()
	if busy {
		return
	}
	if !o.c.goWork(func() {
		err := o.ask()
		if err != nil && o.c.life.Err() == nil {
			o.c.log.debug("who owns what is not known", "err", err)
		}
		o.mu.Lock()
		o.learning = false
		o.mu.Unlock()
	}) {
		o.mu.Lock()
		o.learning = false
		o.mu.Unlock()
	}
}

func (o *owners) ask() error {
	ring, err := o.askAny()
	if err != nil {
		return err
	}
	if t := o.table.Load(); t != nil && ring.GetEpoch() < t.epoch {
		return nil
	}
	nodes := make([]*node, 0, len(ring.GetMembers()))
	for _, m := range ring.GetMembers() {
		n, err := o.node(m.GetGrpc())
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
	}
	t := &table{epoch: ring.GetEpoch(), nodes: make([]*node, len(ring.GetOwners()))}
	for p, at := range ring.GetOwners() {
		if int(at) >= len(nodes) {
			return errors.New("the ring names an owner that is not a member")
		}
		t.nodes[p] = nodes[at]
	}
	o.table.Store(t)
	o.forget(nodes)
	return nil
}

// askAny requests the owners from one node after the other, beginning with the one that calls go to, until one
// answers.
func (o *owners) askAny() (ring *sharelockv1.GetRingResponse, err error) {
	all := *o.c.all.Load()
	first := int(o.c.address(all))
	for i := range all {
		ring, err = o.askOne(all[(first+i)%len(all)])
		if err == nil && len(ring.GetOwners()) == 0 {
			err = errors.New("the ring has no partitions")
		}
		if err == nil || o.c.life.Err() != nil {
			return ring, err
		}
	}
	return nil, err
}

func (o *owners) askOne(n *node) (*sharelockv1.GetRingResponse, error) {
	ctx, cancel := context.WithTimeout(o.c.life, learnTime)
	defer cancel()
	return n.ring(ctx)
}

// ring requests the owners of all partitions.
func (n *node) ring(ctx context.Context) (*sharelockv1.GetRingResponse, error) {
	if n.session.GRPCOnly() {
		return n.mesh.GetRing(ctx, &sharelockv1.GetRingRequest{})
	}
	b, err := n.session.Ring(ctx)
	if err != nil {
		return nil, err
	}
	r := new(sharelockv1.GetRingResponse)
	if err := proto.Unmarshal(b, r); err != nil {
		return nil, err
	}
	return r, nil
}

// forget makes calls go to the members of the newest ring besides the addresses given, and closes the
// connections to nodes that are no members any more and keep no locks alive.
func (o *owners) forget(members []*node) {
	all := slices.Clone(o.c.nodes)
	o.mu.Lock()
	var gone []*node
	for addr, n := range o.found {
		switch {
		case slices.Contains(members, n):
			all = append(all, n)
		case n.session.Idle():
			delete(o.found, addr)
			gone = append(gone, n)
		}
	}
	o.mu.Unlock()
	o.c.all.Store(&all)
	for _, n := range gone {
		if err := n.close(); err != nil {
			o.c.log.debug("closing the connection to a node that has left", "addr", n.addr, "err", err)
		}
	}
}

// node returns the node at an address. It creates the node if the address is new.
func (o *owners) node(addr string) (*node, error) {
	for _, n := range o.c.nodes {
		if n.addr == addr {
			return n, nil
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := o.found[addr]; n != nil {
		return n, nil
	}
	n, err := o.c.newNode(addr)
	if err != nil {
		return nil, err
	}
	if o.c.life.Err() != nil {
		n.session.Abort(o.c.cleanup.Err() != nil) // Close may have aborted the other sessions before
	}
	if o.found == nil {
		o.found = map[string]*node{}
	}
	o.found[addr] = n
	return n, nil
}

// all returns the nodes that were found.
func (o *owners) all() []*node {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Values(o.found))
}

// close closes the connections to nodes that were found.
func (o *owners) close() error {
	o.mu.Lock()
	found := o.found
	o.found = nil
	o.mu.Unlock()
	var errs []error
	for _, n := range found {
		errs = append(errs, n.close())
	}
	return errors.Join(errs...)
}
