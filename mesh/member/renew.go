package member

import (
	"context"
	"time"

	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// renew asks for a lease. It returns false if the leader has to be asked again soon.
func (m *Member) renew(ctx context.Context, a *epoch.View) bool {
	m.mu.Lock()
	req := &peerv1.RenewRequest{
		Member: ringproto.EncodeIdentity(m.cfg.Self.Identity), Epoch: a.Epoch,
		Leaving: m.leaving, Done: m.handedOver, ForGood: m.forGood, Refresh: a.Service.NeedsRefresh(),
		Mute: m.cfg.Raft.DiskError() != nil,
	}
	m.mu.Unlock()
	req.Complaints = m.cfg.Complaints(a)
	req.Callers = m.cfg.Claims(a)
	if a.Leaving(m.cfg.Self.Identity) {
		// V6a: this member is not needed any more.
		req.Told = a.Service.Told(a.MarkedSince(m.cfg.Self.Identity)) == a.Constants().Partitions()
	}
	if req.GetDone() {
		a.Service.EndLease() // V7: this member stops acting before it says so
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Views.Lease()/4)
	defer cancel()
	m.parting.answered = false
	addr := m.leaderAddr(a)
	if addr == "" {
		return false
	}
	sent := m.cfg.Clock() // V4: the lease counts from the time of sending
	resp, err := m.cfg.Calls.Renew(ctx, addr, req)
	if err != nil {
		m.forget(addr)
		m.parting.unanswered[addr]++
		m.cfg.Log.Debug("not renewed", "leader", addr, "error", err)
		return false
	}
	delete(m.parting.unanswered, addr)
	if m.parting.answered = resp.GetOutcome() != peerv1.RenewResponse_OUTCOME_NOT_LEADER; m.parting.answered {
		clear(m.parting.unanswered)
	}
	return m.take(addr, sent, resp)
}

// take handles the answer of the process at addr to a request that was sent at sent. It returns
// false if the leader has to be asked again soon.
func (m *Member) take(addr string, sent time.Duration, resp *peerv1.RenewResponse) bool {
	// V4: the view is installed before the answer counts.
	if err := m.cfg.Views.Offer(view.StateFromProto(resp.GetHistory())); err != nil {
		m.cfg.Log.Error("view refused", "error", err)
		return false
	}
	if resp.GetNotice() != "" {
		m.usedTwice(resp.GetNotice())
	}
	switch resp.GetOutcome() {
	case peerv1.RenewResponse_OUTCOME_RENEWED:
		now := m.cfg.Views.Now()
		if _, in := now.Find(m.cfg.Self.Identity); !in || now.Epoch < resp.GetEpoch() {
			return false
		}
		now.Service.SetLease(sent + m.cfg.Views.Lease())
		m.mu.Lock()
		m.leader, m.voters, m.asked.hint = resp.GetLeaderId(), resp.GetVoters(), addr
		m.mu.Unlock()
		m.cfg.Calls.NoteReached(resp.GetLeaderId())
		m.cfg.Leased()
		return true
	case peerv1.RenewResponse_OUTCOME_LEFT:
		if now := m.cfg.Views.Now(); now != nil {
			now.Service.EndLease()
		}
		m.Dismiss()
		return true
	case peerv1.RenewResponse_OUTCOME_NOT_LEADER:
		m.follow(addr, resp.GetLeader())
	default:
		m.cfg.Log.Debug("not renewed", "leader", addr, "outcome", resp.GetOutcome())
	}
	return false
}
