package mesh

import (
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/ring"
)

func (n *Node) asMember() ring.Member {
	return ring.Member{
		Identity: n.self, Name: n.cfg.Name,
		Peer: n.addrs.Peer, Gossip: n.addrs.Gossip, HTTP: n.addrs.HTTP, GRPC: n.addrs.GRPC,
		Release: n.program().Newest, Hold: n.cfg.HoldRelease,
	}
}

// addressOf is the peer address of the process with this id, or "": of the member of the
// view while gossip knows it alive, since a later run may be a copy of its data directory
// (V3); else of the newest run.
func (n *Node) addressOf(id string) string {
	if id == n.self.ID {
		return n.addrs.Peer
	}
	var member ring.Member
	if a := n.views.Now(); a != nil {
		member, _ = a.FindID(id)
	}
	addr, counter := member.Peer, member.Counter
	for _, g := range n.gossip.Processes() {
		who := ringproto.DecodeIdentity(g.Meta.GetIdentity())
		switch {
		case who.ID != id:
		case who == member.Identity:
			return member.Peer
		case who.Counter >= counter:
			addr, counter = g.Meta.GetPeer(), who.Counter
		}
	}
	return addr
}

// raftAddressOf is addressOf for Raft's streams, which a double does not open.
func (n *Node) raftAddressOf(id string) string {
	if n.double.Load() {
		return ""
	}
	return n.addressOf(id)
}

// doubled keeps this process out of Raft while another one has its place, or lets it take
// part again (V3): two processes that vote with one id could elect two leaders.
func (n *Node) doubled(is bool) {
	if n.double.Swap(is) != is && is {
		n.raftStreams.HangUp()
	}
}

// leaderAddr is the peer address of the leader, or "".
func (n *Node) leaderAddr() string {
	if id := n.agree.Leader(); id != "" {
		return n.addressOf(id)
	}
	return n.member.Hint()
}

// leaderAtWork is the peer address of the leader that gave this process its last lease,
// else of who is said to lead, or "".
func (n *Node) leaderAtWork() string {
	if n.leadership.now() != nil {
		return n.addrs.Peer
	}
	if id := n.member.Leader(); id != "" {
		if addr := n.addressOf(id); addr != "" {
			return addr
		}
	}
	return n.leaderAddr()
}
