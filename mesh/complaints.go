package mesh

import (
	"slices"
	"time"

	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// complainAfter is how long a member waits for another without progress before
// it says so (V6).
func complainAfter(lease time.Duration) time.Duration { return max(lease/2, time.Second) }

// complaints are the members that this one has waited for too long (V6).
func (n *Node) complaints(a *acting) []*peerv1.Identity {
	before := n.clock() - complainAfter(n.lease())
	stuck := a.service.Stuck(before)
	n.peers.mu.Lock()
	for id, l := range n.peers.links {
		if l.stuck(before) && !slices.Contains(stuck, id) {
			stuck = append(stuck, id)
		}
	}
	n.peers.mu.Unlock()
	var list []*peerv1.Identity
	for _, id := range stuck {
		list = append(list, view.IdentityToProto(id))
	}
	return list
}
