package mesh

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/gossip"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner/mutant"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// errPromised: this process follows a cluster already (V0).
var errPromised = errors.New("follows another cluster")

// founding is what this process has promised and says of itself while a cluster is founded.
type founding struct {
	promising sync.Mutex    // serialises promises
	seedIndex atomic.Uint32 // as announced
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

// birth starts a cluster if it is for this process to start one (V0). It returns
// when the cluster is born, or follows another process.
func (n *Node) birth(ctx context.Context) {
	id, founder, ok := n.data.Promise()
	// It follows a cluster, or promised to; or it has founded one, or resumes that when it
	// leads.
	if ok && founder.ID != n.self.ID || n.agree.Existing() {
		if n.cfg.Found {
			n.log.Info("--found is ignored: the data directory belongs to a mesh already", "cluster", fmt.Sprintf("%x", id))
		}
		return
	}
	tick := time.NewTicker(n.lease() / 4)
	defer tick.Stop()
	warned := ""
	for ctx.Err() == nil {
		others, why := n.mayFound()
		if why == "" {
			if why = n.found(ctx, others); why == "" {
				return
			}
		}
		if why != warned && why != waitJoin {
			warned = why
			if n.cfg.Found {
				n.log.Warn("--found: no cluster is founded", "why", why)
			} else {
				n.log.Info("cluster not founded yet", "why", why)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.gossip.Changed():
		case <-n.views.Changed():
		}
		if id, f, ok := n.data.Promise(); ok && f.ID != n.self.ID || len(id) > 0 && n.views.Now() != nil {
			return
		}
	}
}

// mayFound returns the processes whose promise is needed before this one founds a cluster
// (V0), or why it must not.
func (n *Node) mayFound() (others []gossip.Process, why string) {
	switch {
	case !n.cfg.Found:
		return n.seedsReady()
	case mutant.On(mutant.FoundUnasked):
		return nil, ""
	}
	if others, why = n.seedsEmpty(); why == "" && len(others) == 0 {
		n.log.Warn("--found: founding a mesh without asking other nodes, because mesh.seeds names none; " +
			"if this node has lost the data directory of a mesh that still runs, both meshes grant the same keys")
	}
	return others, why
}

// seedsEmpty returns the other seeds if all of them are there and none follows a cluster,
// as --found wants it. Otherwise it says why not, and who lives where.
func (n *Node) seedsEmpty() (others []gossip.Process, why string) {
	var living []string
	for _, g := range n.gossip.Processes() {
		if id := g.Meta.GetClusterId(); len(id) > 0 && !n.sameCluster(id) {
			living = append(living, fmt.Sprintf("node %s at %s (gossip %s) in mesh %x", g.Meta.GetName(), g.Meta.GetPeer(), g.Addr, id))
		}
	}
	if len(living) > 0 {
		slices.Sort(living)
		return nil, "a mesh lives already, which this node joins: " + strings.Join(living, ", ")
	}
	if len(n.cfg.Seeds) == 0 {
		return nil, ""
	}
	index, _, err := n.place()
	if err != nil {
		return nil, err.Error()
	}
	others, missing, err := n.gossip.SeedProcesses()
	switch {
	case err != nil:
		return nil, err.Error()
	case len(missing) > 0:
		return nil, "every seed has to answer that it is empty; no answer yet from " + strings.Join(missing, ", ")
	}
	// The first of several empty seeds founds the cluster without a command. Two that
	// found one at the same time would refuse each other.
	for _, g := range others {
		if len(n.cfg.Seeds) > 1 && index != 1 && g.Meta.GetSeedIndex() == 1 && g.Meta.GetSeedsHash() == gossip.SeedsHash(n.cfg.Seeds) {
			return nil, fmt.Sprintf("every seed is empty, so that node %s, the first of them, founds the cluster", g.Meta.GetName())
		}
	}
	return others, ""
}

// waitJoin: it is not for this process to found a cluster.
const waitJoin = "another process founds the cluster, or has"

// seedsReady gives the other seeds, if this process is the first of them and all
// the others are there, empty, and have the same list. Otherwise it says why not.
func (n *Node) seedsReady() (others []gossip.Process, why string) {
	index, unique, err := n.place()
	hash := gossip.SeedsHash(n.cfg.Seeds)
	for _, g := range n.gossip.Processes() {
		if g.Meta.GetSeedIndex() > 0 && g.Meta.GetSeedsHash() != hash && len(g.Meta.GetClusterId()) == 0 && index > 0 {
			return nil, fmt.Sprintf("node %s has another list of seeds: mesh.seeds must be the same everywhere, in the same order", g.Meta.GetName())
		}
	}
	switch {
	case err != nil:
		return nil, err.Error()
	case index != 1:
		return nil, waitJoin
	case len(n.cfg.Seeds) == 1:
		// With nobody to ask, a node that lost its data would found a second
		// cluster beside the one that it was in.
		return nil, "the only seed founds a cluster only with --found"
	case !unique:
		return nil, "the first of mesh.seeds stands for several processes, so nobody can tell who founds the cluster"
	}
	missing := map[uint32]bool{}
	for i := range n.cfg.Seeds[1:] {
		missing[uint32(i+2)] = true
	}
	for _, g := range n.gossip.Processes() {
		if len(g.Meta.GetClusterId()) > 0 && !n.sameCluster(g.Meta.GetClusterId()) {
			return nil, waitJoin
		}
		if i := g.Meta.GetSeedIndex(); missing[i] {
			delete(missing, i)
			others = append(others, g)
		}
	}
	if len(missing) > 0 {
		var names []string
		for i := range missing {
			names = append(names, n.cfg.Seeds[i-1])
		}
		slices.Sort(names)
		return nil, "waits for the seeds " + strings.Join(names, ", ")
	}
	return others, ""
}

// found makes this process the first voter of a new cluster, once all others have
// promised to follow. The own promise comes first: so a founder that crashes goes
// on with the same cluster when it is back.
func (n *Node) found(ctx context.Context, others []gossip.Process) (why string) {
	id, _, ok := n.data.Promise()
	if why := n.allFree(ctx, id, others); why != "" {
		return why
	}
	if !ok {
		id = make([]byte, 16)
		rand.Read(id) //nolint:errcheck // never fails, see crypto/rand
		if err := n.promise(id, n.self); err != nil {
			return err.Error()
		}
	}
	for _, g := range others {
		turn, cancel := context.WithTimeout(ctx, n.lease())
		resp, err := n.peers.Promise(turn, g.Meta.GetPeer(), ringproto.DecodeIdentity(g.Meta.GetIdentity()),
			&peerv1.PromiseRequest{ClusterId: id, Founder: ringproto.EncodeIdentity(n.self)})
		cancel()
		if err != nil {
			return fmt.Sprintf("seed %s does not promise: %v", g.Meta.GetName(), err)
		}
		if !resp.GetPromised() {
			return fmt.Sprintf("seed %s does not promise: %s", g.Meta.GetName(), resp.GetWhy())
		}
	}
	if err := n.agree.Bootstrap(); err != nil {
		return err.Error()
	}
	n.log.Info("founded the cluster", "cluster", fmt.Sprintf("%x", id))
	return ""
}

// allFree asks the others, before anybody is bound, whether they are empty (or
// have promised to follow this process already).
func (n *Node) allFree(ctx context.Context, id []byte, others []gossip.Process) (why string) {
	for _, g := range others {
		turn, cancel := context.WithTimeout(ctx, n.lease())
		theirs, err := n.peers.ClusterOf(turn, g.Meta.GetPeer(), ringproto.DecodeIdentity(g.Meta.GetIdentity()))
		cancel()
		if err != nil {
			return fmt.Sprintf("seed %s does not answer: %v", g.Meta.GetName(), err)
		}
		if len(theirs) > 0 && !bytes.Equal(theirs, id) {
			return fmt.Sprintf("seed %s follows another cluster", g.Meta.GetName())
		}
	}
	return ""
}

// firstView is committed by the founder when it leads for the first time (V0).
func (n *Node) firstView(ctx context.Context) error {
	id, founder, ok := n.data.Promise()
	if !ok || founder.ID != n.self.ID {
		return errors.New("this process leads a cluster that it has not founded")
	}
	c := &peerv1.Cluster{
		Id: id, Name: n.cfg.Cluster, Partitions: uint32(n.cfg.Partitions),
		LeaseNs: int64(n.cfg.Lease), MaxTtlNs: int64(n.cfg.MaxTTL), Replicas: uint32(n.cfg.Replicas),
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
	}
	m.SeedIndex = n.seedIndex.Load()
	if old := n.replaces.Load(); old != nil {
		m.Replaces = gossip.Fitting(m, *old)
	}
	return m
}

// place says which of the seeds this process is, and tells gossip when that has
// changed: names may resolve only later.
func (n *Node) place() (index int, unique bool, err error) {
	index, unique, err = n.gossip.SeedIndex()
	if err == nil && n.seedIndex.Swap(uint32(index)) != uint32(index) {
		n.announce()
	}
	return index, unique, err
}
