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
	}
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
