package mesh

import (
	"context"
	"fmt"
	"runtime"

	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/mesh/peer"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// followCluster makes the service when the first view of a cluster comes.
func (n *Node) followCluster(s view.State) (*owner.Service, error) {
	if s.Cluster.GetName() != n.cfg.Cluster {
		return nil, fmt.Errorf("%w: its name is %q", epoch.ErrOtherCluster, s.Cluster.GetName())
	}
	if old := s.Cluster.GetReplaces(); len(old) > 0 {
		n.replaces.Store(&old)
		n.announce()
	}
	if err := n.promise(s.Cluster.GetId(), ring.Identity{}); err != nil {
		return nil, err
	}
	c := s.Constants()
	n.reportConstants(c)
	if has := s.View().Release; n.ownRelease() < has {
		n.log.Warn("mesh.hold_release has no effect: the view's release never falls", "configured", n.cfg.HoldRelease, "used", has)
	}
	if err := n.agree.Begin(c.Lease()); err != nil {
		if n.ctx.Err() == nil {
			n.end(err)
		}
		return nil, err
	}
	if err := n.data.SetCluster(c.GetName(), c.Lease()); err != nil {
		n.log.Error("cannot write the cluster's name and lease to the data directory: is the disk full?", "error", err)
	}
	service := owner.NewService(owner.Config{
		// One loop for each processor: with more, a batch that comes from a link wakes up more of them,
		// which cost 3 nodes on 2 processors a tenth of their calls per second.
		Self: n.self, Name: n.cfg.Name, Partitions: c.Partitions(), MaxTTL: c.MaxTTL(), MaxHold: n.cfg.MaxHold,
		MaxWaiters: n.cfg.MaxWaitersPerKey, MaxLocks: n.cfg.MaxLocks,
		Shards: runtime.GOMAXPROCS(0), Clock: n.clock, Peers: ownerPeers{n.peers, n.links}, Log: n.log, Forced: n.tellForced, Pause: n.hooks.Pause,
		Limits: n.principalLimits(), Count: n.census.Want, Unknown: n.retire, Journal: n.journal, Tracer: n.tracer,
	})
	n.onClose("service", func() error { service.Stop(); return nil })
	return service, nil
}

// ownerPeers is what an owner asks of other members: by calls, and over links.
type ownerPeers struct {
	*peer.Client
	links *link.Links
}

var _ owner.Peers = ownerPeers{}

// Replicate implements owner.Peers.
func (p ownerPeers) Replicate(to ring.Member, epoch uint32, entries []owner.Entries) {
	p.links.Replicate(to, epoch, entries)
}

// reportConstants says once where the file differs from what was fixed at the
// cluster's birth.
func (n *Node) reportConstants(c view.Constants) {
	for _, k := range []struct {
		key         string
		file, fixed any
	}{
		{"mesh.lease", n.cfg.Lease, c.Lease()},
		{"ring.partitions", n.cfg.Partitions, c.Partitions()},
		{"ring.replicas", n.cfg.Replicas, int(c.GetReplicas())},
		{"locks.max_ttl", n.cfg.MaxTTL, c.MaxTTL()},
	} {
		if k.file != k.fixed {
			n.log.Warn("the configuration differs from the values that were fixed when the cluster was founded; those are used",
				"key", k.key, "configured", automatic(k.key, k.file), "used", automatic(k.key, k.fixed))
		}
	}
}

// automatic says what the value 0 of ring.replicas means.
func automatic(key string, value any) any {
	if key == "ring.replicas" && value == 0 {
		return "0 (automatic: one more than the quorum can lose, at least 2)"
	}
	return value
}

// watchViews installs what Raft has agreed on, and keeps the connections in step
// with the view.
func (n *Node) watchViews(ctx context.Context) {
	for {
		changed := n.views.Changed()
		if a := n.views.Now(); a != nil {
			n.links.Keep(a)
			n.peers.Keep(a)
			n.dialBacks.Keep(a.View)
			known := make([]string, 0, len(a.Members))
			for _, m := range a.Members {
				known = append(known, m.Gossip)
			}
			n.gossip.SetKnown(known)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-n.agree.Changed():
			if err := n.views.Offer(n.agree.State()); err != nil {
				n.log.Error("view refused", "error", err)
			}
		}
	}
}
