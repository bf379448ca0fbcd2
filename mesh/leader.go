package mesh

import (
	"context"
	"log/slog"
	"sync"
	"time"

	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// stretched is what whoever waits for the end of a time that another process
// measures must wait (protocol, "stretched").
func stretched(d time.Duration) time.Duration { return d + d/10 }

// leader is one leadership: it lives from the commit of its `lead` to the loss of
// Raft's leadership. It gives leases (V4), admits (V3), removes (V5), lets leave
// (V7) and keeps the voters (V1). All of it is forgotten with it.
type leader struct {
	node   *Node
	agree  *agreement
	term   uint64 // the term of its own `lead` (V2)
	seats  func() ([]seat, error)
	log    *slog.Logger
	rounds rounds
	kick   chan struct{}
	done   sync.WaitGroup // run waits for it

	mu sync.Mutex
	// members is what the leader knows of each member of the view. Guarded by mu.
	members map[ring.Identity]*standing
	// joins are the processes that ask for admission, by id. Guarded by mu.
	joins map[string]joining
	// comebacks remembers, by id, who was admitted again and how often. Guarded
	// by mu.
	comebacks map[string]comeback
	// step is when the leader last looked at all of this; a long gap means that
	// it was paused (V5). Guarded by mu.
	step time.Duration
	// transferred is when leadership was last handed over for want of voters.
	transferred time.Duration
	handed      bool
	// askedAt is when it last handed over because it was to be evicted itself (V6).
	askedAt time.Duration
	asked   bool
}

// standing is what a leader knows of one member.
type standing struct {
	// renewed is when the last request that was renewed arrived (V5).
	renewed time.Duration
	// assumed: renewed is no request of the member's, but what V5 takes it to be. V6
	// does not: the member may be dead.
	assumed bool
	// stopped: it is renewed no more until a proposal is decided (V5).
	stopped bool
	// replaced: a later start of the same process asks to join.
	replaced bool
	// leaving: it asked to leave; left: it gave up its lease (V7).
	leaving, left bool
	// refresh: it needs a new epoch (G2).
	refresh bool
	// complaints are the members that it waits for in vain (V6).
	complaints map[ring.Identity]bool
	// evicted: it is to go, because it cannot be reached by most (V6).
	evicted bool
}

// joining is a request for admission.
type joining struct {
	member  ring.Member
	reached map[ring.Identity]bool
	at      time.Duration
}

// comeback counts the admissions of an id that was removed without having left.
type comeback struct {
	times int
	last  time.Duration
}

func newLeader(n *Node, a *agreement, term uint64) *leader {
	l := &leader{
		node: n, agree: a, term: term, seats: a.seats, log: n.log.With("term", term),
		kick:      make(chan struct{}, 1),
		members:   map[ring.Identity]*standing{},
		joins:     map[string]joining{},
		comebacks: map[string]comeback{},
		step:      n.clock(),
	}
	l.rounds.confirm, l.rounds.spawn = l.confirm, n.tasks.Go
	// V5: a new leader knows nothing of its predecessor's leases; it counts every
	// member as having renewed when its `lead` was applied.
	for _, m := range a.fsm.state().view().Members {
		l.members[m.Identity] = &standing{renewed: l.step, assumed: true}
	}
	return l
}

// lease is the cluster's, as Raft has it: a wait that was measured by anything
// else would not be V5's.
func (l *leader) lease() time.Duration {
	return constants{l.agree.fsm.state().cluster}.lease()
}

// wake makes the loop look again soon.
func (l *leader) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// run leads until ctx ends.
func (l *leader) run(ctx context.Context) {
	l.log.Info("leads")
	defer l.log.Info("leads no more")
	defer l.done.Wait()
	l.done.Go(func() { l.keepVoters(ctx) })
	tick := time.NewTicker(max(l.lease()/20, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.kick:
		}
		l.look(ctx)
	}
}

// renew answers a member's request for a lease (V4).
func (l *leader) renew(ctx context.Context, req *peerv1.RenewRequest) *peerv1.RenewResponse {
	arrived := l.node.clock()
	if !l.rounds.wait(ctx) {
		return &peerv1.RenewResponse{Outcome: peerv1.RenewResponse_OUTCOME_REFUSED}
	}
	s := l.agree.fsm.state()
	who := identityFromProto(req.GetMember())
	resp := &peerv1.RenewResponse{Epoch: s.epoch()}
	if req.GetEpoch() < s.epoch() {
		resp.History = stateToProto(s)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[who]
	if _, in := s.view().Find(who); !in || m == nil {
		resp.Outcome = peerv1.RenewResponse_OUTCOME_NOT_MEMBER
		return resp
	}
	if req.GetDone() {
		// V7: the member acts no more, so its removal need not wait.
		m.left, m.stopped = true, true
		l.wake()
		resp.Outcome = peerv1.RenewResponse_OUTCOME_LEFT
		return resp
	}
	if m.stopped || m.replaced || m.evicted {
		resp.Outcome = peerv1.RenewResponse_OUTCOME_REFUSED
		return resp
	}
	m.renewed, m.assumed = max(m.renewed, arrived), false
	m.complaints = nil
	for _, c := range req.GetComplaints() {
		if m.complaints == nil {
			m.complaints = map[ring.Identity]bool{}
		}
		m.complaints[identityFromProto(c)] = true
	}
	if req.GetLeaving() && !m.leaving || req.GetRefresh() && !m.refresh {
		m.leaving = m.leaving || req.GetLeaving()
		m.refresh = req.GetRefresh()
		l.wake()
	}
	resp.Outcome = peerv1.RenewResponse_OUTCOME_RENEWED
	return resp
}

// join takes a request for admission (V3). The answer is mostly "wait": the
// joiner asks again, and the view that admits it reaches it with the answer or
// as an install.
func (l *leader) join(req *peerv1.JoinRequest) *peerv1.JoinResponse {
	now := l.node.clock()
	s := l.agree.fsm.state()
	who := memberFromProto(req.GetMember())
	resp := &peerv1.JoinResponse{Outcome: peerv1.JoinResponse_OUTCOME_WAIT, History: stateToProto(s)}
	if why := badJoiner(who); why != "" {
		resp.Why = why
		return resp
	}
	if _, in := s.view().Find(who.Identity); in {
		resp.Outcome = peerv1.JoinResponse_OUTCOME_ADMITTED
		return resp
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range s.view().Members {
		st := l.members[m.Identity]
		fresh := st != nil && !st.left && now-st.renewed <= l.lease()
		switch {
		case m.ID == who.ID && m.Counter >= who.Counter:
			resp.Outcome, resp.Why = peerv1.JoinResponse_OUTCOME_ID_TAKEN, "member "+m.Identity.String()+" has this id"
			return resp
		case m.ID != who.ID && m.Name == who.Name && fresh:
			resp.Outcome, resp.Why = peerv1.JoinResponse_OUTCOME_NAME_TAKEN,
				"node.name \""+m.Name+"\" is used by the live member "+m.ID+" at "+m.Peer
			return resp
		}
	}
	reached := make(map[ring.Identity]bool, len(req.GetReached()))
	for _, r := range req.GetReached() {
		reached[identityFromProto(r)] = true
	}
	_, known := l.joins[who.ID]
	if old := l.joins[who.ID]; old.member.Counter > who.Counter {
		resp.Why = "a later start of this process is joining"
		return resp
	}
	l.joins[who.ID] = joining{member: who, reached: reached, at: now}
	if !known {
		l.wake()
	}
	resp.Why = "waiting for the next view"
	return resp
}

// badJoiner says what is missing in what a joiner says of itself.
func badJoiner(m ring.Member) string {
	switch {
	case m.ID == "" || m.Counter == 0:
		return "a joiner needs an id and an incarnation"
	case m.Name == "" || m.Peer == "":
		return "a joiner needs a name and a peer address"
	case m.Leaving:
		return "a joiner cannot be leaving"
	}
	return ""
}

// look decides whether a new view is due, and proposes it.
func (l *leader) look(ctx context.Context) {
	now := l.node.clock()
	s := l.agree.fsm.state()
	l.mu.Lock()
	if now-l.step > l.lease()/2 {
		l.startAgain(now)
	}
	l.keepStandings(now, s.view())
	self := l.evict(now, s.view())
	d := l.draft(now, s.view())
	lonely := len(d.silent) > 0 && !l.hearsMajority(now)
	due := !lonely && d.why() != "" && len(d.view.Members) > 0
	if due {
		// V5: whoever is to be removed is renewed no more from before the proposal
		// until it is decided.
		for _, m := range append(d.silent, d.left...) {
			l.members[m.Identity].stopped = true
		}
	}
	l.mu.Unlock()
	if self {
		l.log.Warn("is in most broken pairs itself, hands leadership over")
		l.transfer(ctx)
	}
	switch {
	case lonely:
		l.handOver(ctx, now)
	case due:
		l.propose(ctx, s, d)
	}
	l.mu.Lock()
	l.step = l.node.clock() // a slow proposal is not a pause
	l.mu.Unlock()
}

// startAgain is what V5 wants of a leader that was paused: its waits begin anew.
// It needs l.mu.
func (l *leader) startAgain(now time.Duration) {
	l.log.Warn("was paused, waits start again", "for", now-l.step)
	for _, m := range l.members {
		m.renewed, m.assumed = max(m.renewed, now), true
	}
	l.joins = map[string]joining{}
}

// keepStandings keeps one standing for each member of the view, no more. A
// member that a later start of its process asks to replace is renewed no more
// (V5). It needs l.mu.
func (l *leader) keepStandings(now time.Duration, view ring.View) {
	members := make(map[ring.Identity]*standing, len(view.Members))
	for _, m := range view.Members {
		st := l.members[m.Identity]
		if st == nil {
			st = &standing{renewed: now}
		}
		if j, ok := l.joins[m.ID]; ok && m.Counter < j.member.Counter && now-j.at <= l.lease() {
			st.replaced = true
		} else {
			st.replaced = false
		}
		members[m.Identity] = st
	}
	l.members = members
}

// noteRemoval counts a removal of a member that did not leave in good order. It
// needs l.mu.
func (l *leader) noteRemoval(id string, now time.Duration) {
	c := l.comebacks[id]
	if now-c.last > time.Minute {
		c.times = 0
	}
	c.times++
	c.last = now
	l.comebacks[id] = c
}

// hearsMajority says whether a majority of the voters was heard within the last
// lease, by renewals or joins (V5). It needs l.mu.
func (l *leader) hearsMajority(now time.Duration) bool {
	heard := l.heard(now)
	seats, err := l.seats()
	if err != nil {
		return false
	}
	voters, yes := 0, 0
	for _, s := range seats {
		if s.voter {
			voters++
			if heard[s.id] {
				yes++
			}
		}
	}
	return yes >= voters/2+1
}

// heard are the ids that renewed or asked to join within L stretched, and the
// leader's own. It needs l.mu.
func (l *leader) heard(now time.Duration) map[string]bool {
	heard := map[string]bool{string(l.agree.self): true}
	for who, m := range l.members {
		if now-m.renewed < stretched(l.lease()) && !m.left {
			heard[who.ID] = true
		}
	}
	for id, j := range l.joins {
		if now-j.at < stretched(l.lease()) {
			heard[id] = true
		}
	}
	return heard
}

// handOver gives leadership to somebody who may hear more, at most once a minute
// (V5).
func (l *leader) handOver(ctx context.Context, now time.Duration) {
	if l.handed && now-l.transferred < time.Minute {
		return
	}
	l.handed, l.transferred = true, now
	l.log.Warn("hears less than a majority, hands leadership over")
	l.transfer(ctx)
}

func (l *leader) transfer(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.lease())
	defer cancel()
	if err := l.agree.reseat(ctx, change{kind: changeTransfer}); err != nil {
		l.log.Warn("leadership was not handed over", "error", err)
	}
}

// propose commits a view and tells everybody it concerns.
func (l *leader) propose(ctx context.Context, s state, d draft) {
	ctx, cancel := context.WithTimeout(ctx, 10*l.lease())
	defer cancel()
	if _, err := ring.Build(d.view, int(s.cluster.GetPartitions())); err != nil {
		l.log.Error("view not proposed", "why", d.why(), "error", err)
		return
	}
	after, applied, err := l.agree.propose(ctx, s.epoch(), l.term, d.view)
	if err != nil {
		// Undecided: nobody who was stopped is renewed again before it is.
		l.log.Warn("proposal undecided", "prev", s.epoch(), "why", d.why(), "error", err)
		return
	}
	l.settle(d, applied, after.view())
	if !applied {
		l.log.Warn("proposal had no effect", "prev", s.epoch(), "why", d.why())
		return
	}
	l.log.Info("new view", "epoch", after.epoch(), "why", d.why(), "view", after.view().String())
	for _, m := range after.view().Members {
		l.node.tasks.Go(func() { l.push(ctx, m, after) })
	}
}

// settle notes how a proposal was decided.
func (l *leader) settle(d draft, applied bool, view ring.View) {
	now := l.node.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range append(d.silent, d.left...) {
		if st := l.members[m.Identity]; st != nil && !applied && !st.left {
			st.stopped = false
		}
	}
	if !applied {
		return
	}
	for _, m := range d.silent {
		l.noteRemoval(m.ID, now)
	}
	for _, m := range d.refreshed {
		l.members[m.Identity].refresh = false
	}
	for _, m := range d.joining {
		delete(l.joins, m.ID)
	}
	l.keepStandings(now, view)
}

// push brings a member the new view at once, instead of with its next renewal.
func (l *leader) push(ctx context.Context, m ring.Member, s state) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.lease()/2)
	defer cancel()
	if err := l.node.peers.install(ctx, m, s); err != nil {
		l.log.Debug("view not pushed", "member", m.Name, "epoch", s.epoch(), "error", err)
	}
}
