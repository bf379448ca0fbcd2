package mesh

import (
	"net/http"

	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/mesh/metrics"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
)

// metricsHandler returns what answers GET /metrics, or nil if that is switched off.
func (n *Node) metricsHandler() (http.Handler, error) {
	if !n.cfg.Metrics {
		return nil, nil
	}
	return metrics.Handler(n.metricsSource(), n.log)
}

// metricsSource says where the numbers of this node are.
func (n *Node) metricsSource() metrics.Source {
	return metrics.Source{
		Owner:       n.ownerNumbers,
		Member:      n.memberNumbers,
		Sessions:    n.router.Sessions,
		Calls:       n.callCounts,
		Links:       n.linkNumbers,
		Complaints:  n.stalls.counts,
		ViewChanges: n.views.Counts,

		AuthFailures: n.AuthFailures,
		AuditDropped: n.cfg.Audit.Dropped,
		Certificates: n.secure.expiry,
		Reloads:      n.reloadNumbers,
		WatchStreams: n.watches.Streams,
		WatchResets:  n.watches.Resets,
	}
}

// reloadNumbers returns how often files were reloaded, of those that there are.
func (n *Node) reloadNumbers() map[metrics.Reload]uint64 {
	counts := map[metrics.Reload]uint64{}
	add := func(what string, taken, refused uint64) {
		counts[metrics.Reload{What: what, OK: true}], counts[metrics.Reload{What: what}] = taken, refused
	}
	if n.secure.store != nil {
		st := n.secure.store.Stats()
		add("tls", st.Reloads, st.Failures)
	}
	if n.auth != nil {
		taken, refused := n.auth.Reloads()
		add("auth", taken, refused)
	}
	if n.cfg.GossipKeysFile != "" {
		taken, refused := n.keys.own.Reloads()
		add("gossip_keys", taken, refused)
	}
	return counts
}

// ownerNumbers returns what this member has counted as an owner; false before its first view.
func (n *Node) ownerNumbers() (owner.Stats, *owner.Totals, bool) {
	a := n.views.Now()
	if a == nil {
		return owner.Stats{}, nil, false
	}
	return a.Service.Stats(), a.Service.Totals(), true
}

// memberNumbers returns how this node is a member.
func (n *Node) memberNumbers() metrics.Member {
	m := metrics.Member{Ready: n.Ready() == nil, Leader: n.leadership.now() != nil, Voters: len(n.voters())}
	if a := n.views.Now(); a != nil {
		m.Epoch, m.Members, m.LeaseRemaining = a.Epoch, len(a.Members), a.Service.LeaseLeft()
		m.Placed, m.Copies = a.Replicas, copiesOf(a)
	}
	return m
}

// copiesOf returns how many copies there should be of each partition, were there enough members.
func copiesOf(a *epoch.View) int {
	return max(int(a.Constants().GetReplicas()), view.Replicas(a.Constants(), a.View))
}

// linkNumbers returns numbers about the links to the other members, by name.
func (n *Node) linkNumbers() map[string]link.Stats {
	a := n.views.Now()
	if a == nil {
		return nil
	}
	named := map[string]link.Stats{}
	for id, st := range n.links.Stats() {
		if m, in := a.Find(id); in {
			named[m.Name] = st
		}
	}
	return named
}
