package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/founding"
	"github.com/sgkandale/sharelock/mesh/gossip"
	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// errPromised: this process follows a cluster already (V0).
var errPromised = errors.New("follows another cluster")

// promises is what this process keeps to promise, and to announce of itself, while a cluster is founded.
type promises struct {
	promising sync.Mutex    // serialises promises
	seedIndex atomic.Uint32 // as announced
	// why is why this process has founded no cluster yet, nil or empty if that is not for it to do.
	why atomic.Pointer[string]
	// replaces are the clusters from which the one that it follows was recovered, nil if none.
	replaces atomic.Pointer[[][]byte]
}

// clusterID is the cluster that this process follows or has promised to; empty
// while it follows none.
func (n *Node) clusterID() []byte {
	id, _, _ := n.data.Promise()
	return id
}

// sameCluster says whether this process follows the cluster.
func (n *Node) sameCluster(id []byte) bool {
	ours := n.clusterID()
	return len(ours) > 0 && bytes.Equal(ours, id)
}

// meantByRaft says whether a Raft stream is for this process.
func (n *Node) meantByRaft(cluster []byte, voter string) bool {
	return voter == n.self.ID && n.sameCluster(cluster) && !n.double.Load()
}

// meantByLink says whether a link is for this process.
func (n *Node) meantByLink(cluster []byte, to string) bool {
	return to == n.self.String() && n.sameCluster(cluster)
}

// promise binds this process to a cluster, on disk (V0). A promise is kept for
// ever: only an empty data directory is free again. The founder is forgotten
// (given as zero) once the cluster is born: from then on nobody can found it.
func (n *Node) promise(cluster []byte, founder ring.Identity) error {
	n.promising.Lock()
	defer n.promising.Unlock()
	ours, before, ok := n.data.Promise()
	born := founder == ring.Identity{}
	switch {
	case ok && !bytes.Equal(ours, cluster):
		return fmt.Errorf("%w: %x, not %x", errPromised, ours, cluster)
	case ok && !born && before == ring.Identity{}:
		// Its founder has lost its records and would found it a second time.
		return errBorn
	case ok && (!born || before == ring.Identity{}):
		return nil
	}
	if err := n.data.SetPromise(cluster, founder); err != nil {
		return err
	}
	n.announce()
	return nil
}

// errBorn: this process has seen the cluster alive.
var errBorn = errors.New("the cluster was founded already")

// founder returns this process as one that may found a cluster.
func (n *Node) founder() *founding.Founder {
	return &founding.Founder{
		Self: n.self, Wanted: n.cfg.Found, Seeds: n.cfg.Seeds, Data: n.data, Views: n.views, Gossip: n.gossip, Raft: n.agree, Peers: n.peers,
		Promise: n.promise, SameCluster: n.sameCluster, Place: n.place, Say: func(why string) { n.promises.why.Store(&why) }, Log: n.log,
	}
}

// firstView is committed by the founder when it leads for the first time (V0).
func (n *Node) firstView(ctx context.Context) error {
	id, founder, ok := n.data.Promise()
	if !ok || founder.ID != n.self.ID {
		return errors.New("this process leads a cluster that it has not founded")
	}
	c := &peerv1.Cluster{
		Id: id, Name: n.cfg.Cluster, Partitions: intconv.Uint32(n.cfg.Partitions),
		LeaseNs: int64(n.cfg.Lease), MaxTtlNs: int64(n.cfg.MaxTTL), Replicas: intconv.Uint32(n.cfg.Replicas),
	}
	v := ring.View{Placement: ring.Placement, Release: n.firstRelease(), Members: []ring.Member{n.asMember()}}
	v.Replicas = view.Replicas(view.Constants{Cluster: c}, v)
	return n.agree.Found(ctx, c, v)
}

// announce tells gossip what has changed about this process.
func (n *Node) announce() {
	if n.gossip == nil {
		return
	}
	if err := n.gossip.UpdateMeta(n.meta()); err != nil {
		n.log.Error("gossip does not carry this node's data", "error", err)
	}
}

// meta is what this process says of itself in gossip.
func (n *Node) meta() *peerv1.Meta {
	m := &peerv1.Meta{
		Identity: ringproto.EncodeIdentity(n.self), Name: n.cfg.Name, Cluster: n.cfg.Cluster, ClusterId: n.clusterID(),
		Peer: n.addrs.Peer, Http: n.addrs.HTTP, Grpc: n.addrs.GRPC, SeedsHash: gossip.SeedsHash(n.cfg.Seeds),
		Release: n.program().Newest, OldestRelease: n.program().Oldest,
		Tls: n.secure.peers != nil, AuthHash: n.authFiles.Own(), Founds: n.cfg.Found,
	}
	m.SeedIndex = n.seedIndex.Load()
	m.GossipKeys = n.keys.fitting(m)
	if old := n.replaces.Load(); old != nil {
		m.Replaces = gossip.Fitting(m, *old)
	}
	return m
}

// place says which of the seeds this process is, and tells gossip when that has
// changed: names may resolve only later.
func (n *Node) place() (index int, unique bool, err error) {
	index, unique, err = n.gossip.SeedIndex()
	if err == nil && n.seedIndex.Swap(intconv.Uint32(index)) != intconv.Uint32(index) {
		n.announce()
	}
	return index, unique, err
}
