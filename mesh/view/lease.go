package view

import (
	"context"

	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// Renew answers a member's request for a lease (V4).
func (l *Leader) Renew(ctx context.Context, req *peerv1.RenewRequest) *peerv1.RenewResponse {
	arrived := l.clock()
	who := ringproto.DecodeIdentity(req.GetMember())
	if l.mayStop(who, req, arrived) {
		return &peerv1.RenewResponse{Outcome: peerv1.RenewResponse_OUTCOME_LEFT}
	}
	if !l.rounds.wait(ctx) {
		return &peerv1.RenewResponse{Outcome: peerv1.RenewResponse_OUTCOME_REFUSED}
	}
	s := l.agree.State()
	resp := &peerv1.RenewResponse{Epoch: s.Epoch()}
	if req.GetEpoch() < s.Epoch() {
		resp.History = StateToProto(s)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[who.ID] = arrived
	m := l.members[who]
	l.told(who, req, arrived)
	if _, in := s.View().Find(who); !in || m == nil {
		resp.Outcome = peerv1.RenewResponse_OUTCOME_NOT_MEMBER
		return resp
	}
	if req.GetDone() {
		// V7: the member no longer acts, so its removal need not wait. It asks again until the
		// removal is decided and its vote is not needed; then it is let go.
		if !m.left {
			m.left, m.stopped = true, true
			l.wake()
		}
		resp.Outcome = peerv1.RenewResponse_OUTCOME_REFUSED
		return resp
	}
	resp.Notice = l.renewedBeside(who, arrived)
	if m.stopped || m.replaced || m.deaf {
		resp.Outcome = peerv1.RenewResponse_OUTCOME_REFUSED
		return resp
	}
	l.hear(who, req, arrived)
	if m.told {
		l.wake()
	}
	if req.GetLeaving() && !m.leaving || req.GetRefresh() && !m.refresh {
		m.leaving = m.leaving || req.GetLeaving()
		m.refresh = req.GetRefresh()
		l.wake()
	}
	resp.Outcome = peerv1.RenewResponse_OUTCOME_RENEWED
	return resp
}
