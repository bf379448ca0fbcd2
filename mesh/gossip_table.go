package mesh

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// What can be wrong with what a process says of itself.
var (
	errBadMeta       = errors.New("malformed gossip meta")
	errForeignGossip = errors.New("process of another mesh or cluster")
)

// gossipNode is a process that gossip believes to live.
type gossipNode struct {
	meta *peerv1.Meta
	// gossipAddr is the host:port of its gossip.
	gossipAddr string
}

// gossipTable is what memberlist's callbacks write into. They run with
// memberlist's locks held: they take the table's lock for a moment, and never
// call memberlist or wait for anyone.
type gossipTable struct {
	name string // of this process
	addr string // its gossip address
	// changed has capacity 1: one value stands for any number of changes.
	changed chan struct{}

	mu       sync.Mutex // guards what follows
	own      *peerv1.Meta
	ownBytes []byte
	// live are the others that memberlist believes alive, by name.
	live map[string]gossipNode
	// successor is a process of a mesh that was recovered from this one's (Config.Recover),
	// nil if none was heard of; replaced is closed then.
	successor *gossipNode
	replaced  chan struct{}
}

var (
	_ memberlist.Delegate      = (*gossipTable)(nil)
	_ memberlist.EventDelegate = (*gossipTable)(nil)
	_ memberlist.AliveDelegate = (*gossipTable)(nil)
	_ memberlist.MergeDelegate = (*gossipTable)(nil)
)

func newGossipTable(own *peerv1.Meta, addr netip.AddrPort) (*gossipTable, error) {
	own, ownBytes, err := cloneMeta(own)
	if err != nil {
		return nil, err
	}
	return &gossipTable{
		name:    view.IdentityFromProto(own.GetIdentity()).String(),
		addr:    addr.String(),
		changed: make(chan struct{}, 1),
		live:    make(map[string]gossipNode),

		replaced: make(chan struct{}),

		own: own, ownBytes: ownBytes,
	}, nil
}

// cloneMeta fails for text that is not UTF-8.
func cloneMeta(meta *peerv1.Meta) (*peerv1.Meta, []byte, error) {
	own := proto.CloneOf(meta)
	b, err := proto.Marshal(own)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errBadMeta, err)
	}
	return own, b, nil
}

// setOwn replaces what this process says of itself.
func (t *gossipTable) setOwn(meta *peerv1.Meta) error {
	if name := view.IdentityFromProto(meta.GetIdentity()).String(); name != t.name {
		return fmt.Errorf("%w: the identity changes from %s to %s", errBadMeta, t.name, name)
	}
	own, b, err := cloneMeta(meta)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.GetCluster() != t.own.GetCluster() {
		return fmt.Errorf("%w: the cluster's name changes", errBadMeta)
	}
	t.own, t.ownBytes = own, b
	t.signal() // another cluster id may hide some of the nodes
	return nil
}

func (t *gossipTable) signal() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// nodes are this process and the others of its mesh, as copies.
func (t *gossipTable) nodes() []gossipNode {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]gossipNode, 0, len(t.live)+1)
	list = append(list, gossipNode{meta: proto.CloneOf(t.own), gossipAddr: t.addr})
	for _, n := range t.live {
		if t.ours(n.meta) == nil {
			list = append(list, gossipNode{meta: proto.CloneOf(n.meta), gossipAddr: n.gossipAddr})
		}
	}
	return list
}

// addrs are the gossip addresses that somebody alive has.
func (t *gossipTable) addrs() map[string]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	addrs := map[string]bool{t.addr: true}
	for _, n := range t.live {
		addrs[n.gossipAddr] = true
	}
	return addrs
}

// ours says why a process is not one of this mesh; the lock is held. A process
// that follows no cluster yet is of every cluster of its mesh.
func (t *gossipTable) ours(meta *peerv1.Meta) error {
	if meta.GetCluster() != t.own.GetCluster() {
		return fmt.Errorf("%w: mesh %q, this is %q", errForeignGossip, meta.GetCluster(), t.own.GetCluster())
	}
	a, b := meta.GetClusterId(), t.own.GetClusterId()
	if len(a) > 0 && len(b) > 0 && !bytes.Equal(a, b) {
		return fmt.Errorf("%w: cluster %x, this is %x", errForeignGossip, a, b)
	}
	return nil
}

// noteSuccessor looks whether a process is of a mesh that was recovered from the data
// directory of another member of this one's; the lock is held.
func (t *gossipTable) noteSuccessor(n gossipNode) {
	ours := func(id []byte) bool { return bytes.Equal(id, t.own.GetClusterId()) }
	if t.successor == nil && n.meta.GetCluster() == t.own.GetCluster() && slices.ContainsFunc(n.meta.GetReplaces(), ours) {
		t.successor = &n
		close(t.replaced)
	}
}

// parseNode reads what memberlist knows of a process. It keeps nothing of n.
func parseNode(n *memberlist.Node) (gossipNode, error) {
	if len(n.Meta) > memberlist.MetaMaxSize {
		return gossipNode{}, fmt.Errorf("%w: %d bytes", errBadMeta, len(n.Meta))
	}
	meta := &peerv1.Meta{}
	if err := proto.Unmarshal(n.Meta, meta); err != nil {
		return gossipNode{}, fmt.Errorf("%w: %w", errBadMeta, err)
	}
	id := view.IdentityFromProto(meta.GetIdentity())
	if id.ID == "" || id.String() != n.Name {
		return gossipNode{}, fmt.Errorf("%w: it says that it is %q", errBadMeta, id)
	}
	if len(meta.GetClusterId()) > maxClusterID {
		return gossipNode{}, fmt.Errorf("%w: a cluster id of %d bytes", errBadMeta, len(meta.GetClusterId()))
	}
	ip, ok := netip.AddrFromSlice(n.Addr)
	if !ok {
		return gossipNode{}, fmt.Errorf("%w: an address of %d bytes", errBadMeta, len(n.Addr))
	}
	return gossipNode{meta: meta, gossipAddr: netip.AddrPortFrom(ip.Unmap(), n.Port).String()}, nil
}

// NotifyAlive refuses processes that are not of this mesh. One that was let in
// before it followed a cluster, and now follows another, is hidden from nodes.
func (t *gossipTable) NotifyAlive(n *memberlist.Node) error {
	if n.Name == t.name {
		return nil
	}
	got, err := parseNode(n)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noteSuccessor(got)
	err = t.ours(got.meta)
	if _, known := t.live[n.Name]; err != nil && known {
		t.live[n.Name] = got
		t.signal()
	}
	return err
}

// NotifyMerge refuses to exchange lists with a process whose list has nobody of
// this mesh in it. (One stranger among them is left out by NotifyAlive.)
func (t *gossipTable) NotifyMerge(peers []*memberlist.Node) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var refused error
	for _, n := range peers {
		got, err := parseNode(n)
		if err == nil {
			t.noteSuccessor(got)
			err = t.ours(got.meta)
		}
		if err == nil {
			return nil
		}
		refused = err
	}
	return refused
}

// NotifyJoin adds a process.
func (t *gossipTable) NotifyJoin(n *memberlist.Node) { t.put(n) }

// NotifyUpdate replaces what is known of a process.
func (t *gossipTable) NotifyUpdate(n *memberlist.Node) { t.put(n) }

// NotifyLeave removes a process that left or was declared dead.
func (t *gossipTable) NotifyLeave(n *memberlist.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.live[n.Name]; ok {
		delete(t.live, n.Name)
		t.signal()
	}
}

func (t *gossipTable) put(n *memberlist.Node) {
	if n.Name == t.name {
		return
	}
	got, err := parseNode(n)
	if err != nil {
		return // NotifyAlive has refused it
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live[n.Name] = got
	t.signal()
}

// NodeMeta is what this process says of itself.
func (t *gossipTable) NodeMeta(limit int) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.ownBytes) > limit {
		return nil // checkMeta does not let it come to that
	}
	return bytes.Clone(t.ownBytes)
}

// NotifyMsg: nobody of this mesh sends such messages.
func (t *gossipTable) NotifyMsg([]byte) {}

// GetBroadcasts has nothing to add to gossip.
func (t *gossipTable) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState has nothing to add to the exchange of lists.
func (t *gossipTable) LocalState(bool) []byte { return nil }

// MergeRemoteState takes nothing beyond the list.
func (t *gossipTable) MergeRemoteState([]byte, bool) {}
