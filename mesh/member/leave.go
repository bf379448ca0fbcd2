package member

import (
	"context"
	"time"

	"github.com/sgkandale/sharelock/mesh/epoch"
)

// parting is what Run remembers about the answers to its requests, for a process that wants to be
// let go.
type parting struct {
	// leaderless is since when such a process has found no leader; 0 if it finds one.
	leaderless time.Duration
	// unanswered counts, by address, the requests for a lease that failed in a row; it is empty
	// when a leader answers.
	unanswered map[string]int
	// answered: a leader answered the last request for a lease.
	answered bool
}

// LeaveForGood makes Leave give up the Raft seat, too (V7).
func (m *Member) LeaveForGood(forGood bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forGood = m.forGood || forGood
}

// Leave asks to be taken off the ring, and waits until this member holds nothing any more or ctx
// ends (V7).
func (m *Member) Leave(ctx context.Context) {
	m.mu.Lock()
	m.leaving = true
	m.forGood = m.forGood || m.cfg.Volatile
	m.mu.Unlock()
	m.wake()
	m.waitHandedOver(ctx)
}

// waitHandedOver returns when G1 has told this member of every partition since it was marked (V7).
// It also returns when no other member can take what it holds, when it was let go, when nothing has
// changed for LeaveTime, or when ctx ends. Holding no copy is not sufficient: the member may be the
// last witness of step 2 of an activation.
func (m *Member) waitHandedOver(ctx context.Context) {
	tick := time.NewTicker(m.cfg.Views.Lease() / 40)
	defer tick.Stop()
	last, moved := handOverState{}, m.cfg.Clock()
	for {
		a := m.cfg.Views.Now()
		if a == nil || m.alone(a) || !a.Has(m.cfg.Self.Identity) {
			return
		}
		s := m.handOverState(a)
		if s.marked && s.told == a.Constants().Partitions() {
			return
		}
		if now := m.cfg.Clock(); s != last {
			last, moved = s, now
		} else if now-moved >= LeaveTime {
			m.cfg.Log.Warn("leaving before everything was handed over", "told", s.told, "copies", s.copies)
			return
		}
		select {
		case <-ctx.Done():
			m.cfg.Log.Warn("leaving before everything was handed over", "told", s.told, "copies", s.copies)
			return
		case <-m.ended:
			return
		case <-tick.C:
		}
	}
}

// handOverState is what changes while a member hands over what it holds.
type handOverState struct {
	marked       bool
	told, copies int
}

func (m *Member) handOverState(a *epoch.View) handOverState {
	return handOverState{
		marked: a.Leaving(m.cfg.Self.Identity),
		told:   a.Service.Told(a.MarkedSince(m.cfg.Self.Identity)), copies: a.Service.Stats().Copies,
	}
}

// alone reports whether no other member is in the view and there is no leader to tell. A member
// without a vote does not learn from Raft who the leader is; while it holds a lease, there is a
// leader.
func (m *Member) alone(a *epoch.View) bool {
	return len(a.Members) == 1 && a.Members[0].Identity == m.cfg.Self.Identity &&
		m.cfg.Raft.Leader() == "" && !a.Service.LeaseValid()
}

// Stopping reports whether GiveUp has returned: nobody may count on this process's vote any more.
func (m *Member) Stopping() bool { return m.stopping.Load() }

// GiveUp sends the last request (V7) until the answer is that this process may stop. Until then
// this process votes.
func (m *Member) GiveUp(ctx context.Context) {
	defer m.stopping.Store(true)
	a := m.cfg.Views.Now()
	if a == nil {
		return
	}
	defer a.Service.EndLease()
	m.mu.Lock()
	m.handedOver = true
	m.mu.Unlock()
	m.wake()
	tick := time.NewTicker(m.cfg.Views.Lease() / 40)
	defer tick.Stop()
	for !m.alone(a) {
		select {
		case <-m.left:
			return
		case <-m.ended:
			return
		case <-ctx.Done():
			m.cfg.Log.Warn("stopping without the leader's permission")
			return
		case <-tick.C:
		}
	}
}

// part asks the leader to let this process go, which is in no view and was told to stop (V7). The
// process may stop at once if it was never in a view. It may also stop if nobody answers: then
// there is no leader, and no election that could need its vote. If others answer and none of them
// is the leader, their election may need its vote; it is over within the length of a lease.
func (m *Member) part(ctx context.Context, a *epoch.View) {
	if a == nil {
		m.Dismiss()
		return
	}
	m.mu.Lock()
	m.handedOver = true
	m.mu.Unlock()
	if m.renew(ctx, a) || m.heardLeader() {
		return
	}
	now := m.cfg.Clock()
	if m.parting.leaderless == 0 {
		m.parting.leaderless = now
	}
	if m.unheard(a) || now-m.parting.leaderless >= m.cfg.Views.Lease() {
		m.cfg.Log.Warn("stopping without the leader's permission: there is no leader")
		m.Dismiss()
	}
}

// unheard reports whether every other known process has failed to answer two requests since a
// leader last answered. The first failure may be due to an old connection that was broken; the
// second request uses a new one.
func (m *Member) unheard(a *epoch.View) bool {
	for _, addr := range m.others(a, "") {
		if m.parting.unanswered[addr] < 2 {
			return false
		}
	}
	return true
}

// heardLeader reports whether a leader answered the last request. If so, it resets leaderless.
func (m *Member) heardLeader() bool {
	if m.parting.answered {
		m.parting.leaderless = 0
	}
	return m.parting.answered
}
