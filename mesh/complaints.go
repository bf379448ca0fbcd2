package mesh

import (
	"slices"
	"time"

	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
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
		list = append(list, identityToProto(id))
	}
	return list
}

// evict chooses who is to go because of broken pairs (V6): it is renewed no more,
// and removed as if it were silent. One at a time, so that what its removal mends
// is seen before the next. True means that it would be the leader itself, which then hands over, at most once a minute. It
// needs l.mu.
func (l *leader) evict(now time.Duration, view ring.View) (self bool) {
	for _, m := range l.members {
		if m.evicted {
			return false
		}
	}
	victim, pairs := l.mostBroken(now, view, "")
	if pairs == 0 {
		return false
	}
	if victim.ID == string(l.agree.self) {
		if !l.asked || now-l.askedAt >= time.Minute {
			l.asked, l.askedAt = true, now
			return true
		}
		// Nobody took leadership over, so the other one of a pair has to go.
		if victim, pairs = l.mostBroken(now, view, victim.ID); pairs == 0 {
			return false
		}
	}
	l.log.Warn("evicts", "member", victim.Name, "broken", pairs)
	l.members[victim.Identity].evicted = true
	return false
}

// mostBroken is the member with the most broken pairs, of several the one that
// joined last; but not the one with this id. A complaint between two members that
// both renew breaks their pair, whoever complains.
func (l *leader) mostBroken(now time.Duration, view ring.View, not string) (victim ring.Member, most int) {
	renews := func(m ring.Member) bool {
		st := l.members[m.Identity]
		return !st.assumed && now-st.renewed <= 2*l.lease()/5
	}
	broken := func(a, b ring.Member) bool {
		return l.members[a.Identity].complaints[b.Identity] || l.members[b.Identity].complaints[a.Identity]
	}
	for i, m := range view.Members {
		pairs := 0
		for j, other := range view.Members {
			if i != j && renews(m) && renews(other) && broken(m, other) {
				pairs++
			}
		}
		if pairs > 0 && pairs >= most && m.ID != not {
			victim, most = m, pairs
		}
	}
	return victim, most
}
