package view

import (
	"context"

	"github.com/sgkandale/sharelock/owner/mutant"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// Renew answers a member's request for a lease (V4).
func (l *Leader) Renew(ctx context.Context, req *peerv1.RenewRequest) *peerv1.RenewResponse {
	arrived := l.clock()
	if !l.rounds.wait(ctx) {
		return &peerv1.RenewResponse{Outcome: peerv1.RenewResponse_OUTCOME_REFUSED}
	}
	s := l.agree.State()
	who := IdentityFromProto(req.GetMember())
	resp := &peerv1.RenewResponse{Epoch: s.Epoch()}
	if req.GetEpoch() < s.Epoch() {
		resp.History = StateToProto(s)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[who.ID] = arrived
	m := l.members[who]
	if _, in := s.View().Find(who); !in || m == nil {
		resp.Outcome = peerv1.RenewResponse_OUTCOME_NOT_MEMBER
		return resp
	}
	if req.GetDone() {
		// V7: the member acts no more, so its removal need not wait.
		m.left, m.stopped = true, true
		delete(l.asked, who.ID)
		l.wake()
		resp.Outcome = peerv1.RenewResponse_OUTCOME_LEFT
		return resp
	}
	if m.stopped && !mutant.On(mutant.RenewUndecided) || (m.replaced || m.evicted) && !mutant.On(mutant.RenewDoomed) {
		resp.Outcome = peerv1.RenewResponse_OUTCOME_REFUSED
		return resp
	}
	l.hear(who, req.GetComplaints(), arrived)
	if req.GetLeaving() && !m.leaving || req.GetRefresh() && !m.refresh {
		m.leaving = m.leaving || req.GetLeaving()
		m.refresh = req.GetRefresh()
		l.wake()
	}
	resp.Outcome = peerv1.RenewResponse_OUTCOME_RENEWED
	return resp
}
