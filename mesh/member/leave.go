package member

import (
	"context"
	"time"

	"github.com/sgkandale/sharelock/mesh/epoch"
)

// parting is what Run remembers of how its requests were answered, for a process that is to be let
// go.
type parting struct {
	// leaderless is since when such a process finds no leader; 0 is not.
	leaderless time.Duration
	// unanswered counts the requests for a lease in a row that failed, by address; it is
	// empty when a leader answers.
	unanswered map[string]int
	// answered: a leader answered the last request for a lease.
	answered bool
}

// LeaveForGood has Leave give up the Raft seat, too (V7).
func (m *Member) LeaveForGood(forGood bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forGood = m.forGood || forGood
}

// Leave asks to be taken off the ring, waits until nothing is held any more or
// ctx ends (V7).
func (m *Member) Leave(ctx context.Context) {
	m.mu.Lock()
	m.leaving = true
	m.forGood = m.forGood || m.cfg.Volatile
	m.mu.Unlock()
	m.wake()
	m.waitHandedOver(ctx)
}

// waitHandedOver returns when G1 has told this member of every partition since it was
// marked (V7), or nobody is there to take what it holds, or it was let go, or nothing has
// moved for LeaveTime, or ctx ends. That it holds no copy is not enough: it may be the last
// witness of section 4.2.
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

// handOverState is what moves while a member hands over what it holds.
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

// alone reports whether nobody else is in the view and no leader would have to be told. A
// member without a vote does not learn from Raft who leads; while it holds a lease, there
// is a leader.
func (m *Member) alone(a *epoch.View) bool {
	return len(a.Members) == 1 && a.Members[0].Identity == m.cfg.Self.Identity &&
		m.cfg.Raft.Leader() == "" && !a.Service.LeaseValid()
}

// GiveUp sends the last request (V7) until it is answered: this process may stop. Until
// then it votes.
func (m *Member) GiveUp(ctx context.Context) {
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

// part asks the leader to let this process go, which is in no view and was told to stop
// (V7). It may go at once if it was never in a view, and if nobody answers: then there is no
// leader, and none can be elected that this process's vote would help. If others answer, none
// of which leads, their election may need that vote: it is over within the length of a lease.
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

// unheard reports whether every other process that is known was asked twice since a leader
// answered last, and did not answer: the first failure may be that of a connection which was
// broken before, the second is of one that was made anew.
func (m *Member) unheard(a *epoch.View) bool {
	for _, addr := range m.others(a, "") {
		if m.parting.unanswered[addr] < 2 {
			return false
		}
	}
	return true
}

// heardLeader reports whether the last request was answered by a leader, and notes it.
func (m *Member) heardLeader() bool {
	if m.parting.answered {
		m.parting.leaderless = 0
	}
	return m.parting.answered
}
