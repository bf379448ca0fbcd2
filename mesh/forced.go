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
	n.tasks.Go(func() { n.heardForced(holds, reason) })
	a := n.views.Now()
	if a == nil {
		return
	}
	var reqs []*peerv1.ForcedRequest
	for some := range slices.Chunk(holds, mostForced) {
		req := &peerv1.ForcedRequest{Reason: reason}
		for _, h := range some {
			req.Holds = append(req.Holds, &peerv1.ForcedHold{Key: h.Key, Token: uint64(h.Token), ClientId: h.ClientID})
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

// heardForced tells the sessions that may be the holders' that holds were taken away: those
// that have made calls in the holder's name, and those that a hold is attached to.
func (n *Node) heardForced(holds []sharelock.Hold, reason string) {
	a := n.views.Now()
	if a == nil {
		return
	}
	for _, h := range holds {
		told := n.sessions.of(h.ClientID)
		kept := n.renewals.taken(n.clock(), a.Partition(h.Key), h, reason)
		for _, s := range kept {
			if !slices.Contains(told, s) {
				told = append(told, s)
			}
		}
		for _, s := range told {
			s.to.Forced(h.Key, h.Token, reason)
		}
		if len(kept) > 0 {
			n.renewals.nudge()
		}
	}
}

// taken lets go of all attachments of a hold that was taken away, and returns their
// sessions. Their clients are told when the loop runs next.
func (r *renewals) taken(now time.Duration, partition uint32, h sharelock.Hold, reason string) (of []*session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := &sharelock.Error{Err: sharelock.ErrStaleToken, Message: "it was taken by force"}
	if reason != "" {
		err.Message += ": " + reason
	}
	for _, k := range r.attachedTo(partition) {
		if k.Key == h.Key && k.Token == h.Token && !k.detached() {
			of = append(of, k.session)
			r.end(now, k, err)
		}
	}
	return of
}

// attachedTo lists the attached holds of a partition. It needs mu.
func (r *renewals) attachedTo(partition uint32) (list []*kept) {
	for _, ws := range []*wheels{&r.fresh, &r.wheels} {
		for _, w := range ws {
			if w == nil {
				continue
			}
			for i := range w.buckets {
				if b := w.buckets[i].batches[partition]; b != nil {
					list = append(list, b.list...)
				}
			}
		}
	}
	for g := range r.flying {
		if g.holds[0].partition == partition {
			list = append(list, g.holds...)
		}
	}
	return list
}
