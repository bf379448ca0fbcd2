package mesh

import (
	"context"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/view"
)

// seatsOf returns the seats of the voters with these ids, and how many more of them may fail.
func (n *Node) seatsOf(a *epoch.View, voters []string) (seats []sharelock.Seat, survives int) {
	absent, inView := 0, a.Has(n.self)
	for _, id := range voters {
		m, in := a.FindID(id)
		if !in {
			absent++
			m = a.State.LastOf(id)
		}
		seats = append(seats, sharelock.Seat{ID: id, Name: m.Name, Peer: m.Peer, Absent: !in, Silent: !n.answers(id, inView)})
	}
	return seats, view.Survivable(len(voters), absent)
}

// Decommission implements api.Mesh: the leader gives up the seat of an absent voter (V1).
func (n *Node) Decommission(ctx context.Context, name string) error {
	addr := n.leaderAddr()
	if addr == "" {
		return &sharelock.Error{Err: sharelock.ErrNoQuorum, Message: "no leader is known", RetryAfter: n.lease()}
	}
	resp, err := n.peers.Decommission(ctx, addr, name)
	switch {
	case err != nil:
		return &sharelock.Error{Err: sharelock.ErrNoQuorum, Message: "the leader does not answer: " + err.Error(), RetryAfter: n.lease()}
	case resp.GetDone():
		return nil
	case resp.GetLeader() != "":
		return &sharelock.Error{Err: sharelock.ErrNotReady, Message: resp.GetWhy(), RetryAfter: n.lease()}
	}
	return sharelock.Invalid("name", resp.GetWhy())
}
