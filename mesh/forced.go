package mesh

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

const (
	// forcedTime bounds how long a member is told of holds that were taken away, and
	// forcedPause is the time between two attempts.
	forcedTime  = 10 * time.Second
	forcedPause = 200 * time.Millisecond
	// mostForced is how many holds one message names.
	mostForced = 256
	// mostTelling is how many members are told at once, all takings together. Who is not told
	// learns it from its next renewal.
	mostTelling = 1024
)

// tellForced tells all members of holds that this node, their owner, has taken away from
// their holders, and the sessions of this one. It does not block.
func (n *Node) tellForced(holds []sharelock.Hold, reason string) {
	holds = slices.Clone(holds)
	n.tasks.Go(func() { n.router.Forced(holds, reason) })
	a := n.views.Now()
	if a == nil {
		return
	}
	var reqs []*peerv1.ForcedRequest
	for some := range slices.Chunk(holds, mostForced) {
		req := &peerv1.ForcedRequest{Reason: reason}
		for _, h := range some {
			req.Holds = append(req.Holds, &peerv1.ForcedHold{Key: h.Key, Token: uint64(h.Token), ClientId: h.ClientID, Principal: h.Principal})
		}
		reqs = append(reqs, req)
	}
	for _, m := range a.Members {
		if m.Identity == n.self {
			continue
		}
		if !n.telling.enter(mostTelling) {
			n.log.Debug("not telling members of forced releases: too many such calls are in flight", "from", m.Name)
			return
		}
		if !n.tasks.Go(func() {
			defer n.telling.leave()
			for _, req := range reqs {
				n.tellForcedTo(m, req)
			}
		}) {
			n.telling.leave()
		}
	}
}

// tellForcedTo repeats the news until the member has it, for some time: a holder that is
// not told learns it from its next renewal.
func (n *Node) tellForcedTo(m ring.Member, req *peerv1.ForcedRequest) {
	ctx, cancel := context.WithTimeout(n.ctx, forcedTime)
	defer cancel()
	for {
		err := n.peers.Forced(ctx, m, req)
		if err == nil || status.Code(err) == codes.Unimplemented {
			return
		}
		t := time.NewTimer(forcedPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			n.log.Debug("a member was not told of forced releases", "member", m.Name, "error", err)
			return
		}
	}
}
