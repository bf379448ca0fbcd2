package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/internal/wake"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// What can be wrong with what a process says of itself.
var (
	errBadMeta       = errors.New("malformed gossip meta")
	errForeignGossip = errors.New("process of another mesh or cluster")
)

// Process is a process that gossip believes to live.
type Process struct {
	Meta *peerv1.Meta
	// Addr is the host:port of its gossip.
	Addr string
}

// table is what memberlist's callbacks write into. They run with
// memberlist's locks held: they take the table's lock for a moment, and never
// call memberlist or wait for anyone.
type table struct {
	name    string // of this process
	addr    string // its gossip address
	changed wake.Signal
	// readers learns which keys others have; nil unless the process migrates.
	readers *sealer

	mu       sync.Mutex // guards what follows
	own      *peerv1.Meta
	ownBytes []byte
	// live are the others that memberlist believes alive, by name.
	live map[string]Process
	// successor is a process of a mesh that was recovered from this one's (Config.Recover),
	// nil if none was heard of; replaced is closed then.
	successor *Process
	replaced  chan struct{}
}

var (
	_ memberlist.Delegate      = (*table)(nil)
	_ memberlist.EventDelegate = (*table)(nil)
	_ memberlist.AliveDelegate = (*table)(nil)
	_ memberlist.MergeDelegate = (*table)(nil)
)

func newTable(own *peerv1.Meta, addr netip.AddrPort, readers *sealer) (*table, error) {
	own, ownBytes, err := cloneMeta(own)
	if err != nil {
		return nil, err
	}
	return &table{
		name:    ringproto.DecodeIdentity(own.GetIdentity()).String(),
		addr:    addr.String(),
		changed: wake.New(),
		readers: readers,
		live:    make(map[string]Process),

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
func (t *table) setOwn(meta *peerv1.Meta) error {
	if name := ringproto.DecodeIdentity(meta.GetIdentity()).String(); name != t.name {
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
	t.changed.Set() // another cluster id may hide some of the nodes
	return nil
}

// nodes are this process and the others of its mesh, as copies.
func (t *table) nodes() []Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Process, 0, len(t.live)+1)
	list = append(list, Process{Meta: proto.CloneOf(t.own), Addr: t.addr})
	for _, n := range t.live {
		if t.ours(n.Meta) == nil {
			list = append(list, Process{Meta: proto.CloneOf(n.Meta), Addr: n.Addr})
		}
	}
	return list
}

// addrs are the gossip addresses that somebody alive has.
func (t *table) addrs() map[string]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	addrs := map[string]bool{t.addr: true}
	for _, n := range t.live {
		addrs[n.Addr] = true
	}
	return addrs
}

// ours says why a process is not one of this mesh; the lock is held. A process
// that follows no cluster yet is of every cluster of its mesh.
func (t *table) ours(meta *peerv1.Meta) error {
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
func (t *table) noteSuccessor(n Process) {
	ours := func(id []byte) bool { return bytes.Equal(id, t.own.GetClusterId()) }
	if t.successor == nil && n.Meta.GetCluster() == t.own.GetCluster() && slices.ContainsFunc(n.Meta.GetReplaces(), ours) {
		t.successor = &n
		close(t.replaced)
	}
}

// parseNode reads what memberlist knows of a process. It keeps nothing of n.
func parseNode(n *memberlist.Node) (Process, error) {
	if len(n.Meta) > memberlist.MetaMaxSize {
		return Process{}, fmt.Errorf("%w: %d bytes", errBadMeta, len(n.Meta))
	}
	meta := &peerv1.Meta{}
	if err := proto.Unmarshal(n.Meta, meta); err != nil {
		return Process{}, fmt.Errorf("%w: %w", errBadMeta, err)
	}
	id := ringproto.DecodeIdentity(meta.GetIdentity())
	if id.ID == "" || id.String() != n.Name {
		return Process{}, fmt.Errorf("%w: it claims to be %q", errBadMeta, id)
	}
	if len(meta.GetClusterId()) > rules.MaxClusterID {
		return Process{}, fmt.Errorf("%w: a cluster id of %d bytes", errBadMeta, len(meta.GetClusterId()))
	}
	ip, ok := netip.AddrFromSlice(n.Addr)
	if !ok {
		return Process{}, fmt.Errorf("%w: an address of %d bytes", errBadMeta, len(n.Addr))
	}
	return Process{Meta: meta, Addr: netip.AddrPortFrom(ip.Unmap(), n.Port).String()}, nil
}

// NotifyAlive refuses processes that are not of this mesh. One that was let in
// before it followed a cluster, and now follows another, is hidden from nodes.
func (t *table) NotifyAlive(n *memberlist.Node) error {
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
	err = t.ours(got.Meta)
	if _, known := t.live[n.Name]; err != nil && known {
		t.live[n.Name] = got
		t.changed.Set()
	}
	return err
}

// NotifyMerge refuses to exchange lists with a process whose list has nobody of
// this mesh in it. (One stranger among them is left out by NotifyAlive.)
func (t *table) NotifyMerge(peers []*memberlist.Node) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var refused error
	for _, n := range peers {
		got, err := parseNode(n)
		if err == nil {
			t.noteSuccessor(got)
			err = t.ours(got.Meta)
		}
		if err == nil {
			return nil
		}
		refused = err
	}
	return refused
}

// NotifyJoin adds a process.
func (t *table) NotifyJoin(n *memberlist.Node) { t.put(n) }

// NotifyUpdate replaces what is known of a process.
func (t *table) NotifyUpdate(n *memberlist.Node) { t.put(n) }

// NotifyLeave removes a process that left or was declared dead.
func (t *table) NotifyLeave(n *memberlist.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.live[n.Name]; ok {
		delete(t.live, n.Name)
		t.changed.Set()
	}
}

func (t *table) put(n *memberlist.Node) {
	if n.Name == t.name {
		return
	}
	got, err := parseNode(n)
	if err != nil {
		return // NotifyAlive has refused it
	}
	t.readers.learn(got.Addr, got.Meta.GetGossipKeys())
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live[n.Name] = got
	t.changed.Set()
}

// NodeMeta is what this process says of itself.
func (t *table) NodeMeta(limit int) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.ownBytes) > limit {
		return nil // checkMeta does not let it come to that
	}
	return bytes.Clone(t.ownBytes)
}

// NotifyMsg: nobody of this mesh sends such messages.
func (t *table) NotifyMsg([]byte) {}

// GetBroadcasts has nothing to add to gossip.
func (t *table) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState has nothing to add to the exchange of lists.
func (t *table) LocalState(bool) []byte { return nil }

// MergeRemoteState takes nothing beyond the list.
func (t *table) MergeRemoteState([]byte, bool) {}
