package mesh

import (
	"context"
	"log/slog"
	"slices"
	"strings"
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
	log    *slog.Logger
	rounds rounds
	kick   chan struct{}
	done   sync.WaitGroup

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
}

// standing is what a leader knows of one member.
type standing struct {
	// renewed is when the last request that was renewed arrived (V5).
	renewed time.Duration
	// stopped: it is renewed no more until a proposal is decided (V5).
	stopped bool
	// leaving: it asked to leave; left: it gave up its lease (V7).
	leaving, left bool
	// refresh: it needs a new epoch (G2).
	refresh bool
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
		node: n, agree: a, term: term, log: n.log.With("term", term),
		kick:      make(chan struct{}, 1),
		members:   map[ring.Identity]*standing{},
		joins:     map[string]joining{},
		comebacks: map[string]comeback{},
		step:      n.clock(),
	}
	l.rounds.confirm = l.confirm
	// V5: a new leader knows nothing of its predecessor's leases; it counts every
	// member as having renewed when its `lead` was applied.
	for _, m := range a.fsm.state().view().Members {
		l.members[m.Identity] = &standing{renewed: l.step}
	}
	return l
}

func (l *leader) lease() time.Duration { return l.node.lease() }

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

// confirm is one round of V4: true when a majority of the voters, this process
// included, said after the round began that their Raft term is still ours.
func (l *leader) confirm(ctx context.Context) bool {
	seats, err := l.agree.seats()
	if err != nil {
		return false
	}
	// Reading the state after the term would let a leader that was replaced in
	// between pass; a voter raises its term before it votes.
	if !l.agree.leads() || l.agree.term() != l.term {
		return false
	}
	voters, yes := 0, 0
	ctx, cancel := context.WithTimeout(ctx, l.lease()/4)
	defer cancel()
	answers := make(chan bool, len(seats))
	self, asked := false, 0
	for _, s := range seats {
		if !s.voter {
			continue
		}
		voters++
		if s.id == string(l.agree.self) {
			self = true
			continue
		}
		asked++
		if !l.node.tasks.Go(func() {
			r, err := l.node.peers.term(ctx, s.id)
			answers <- err == nil && r.GetTerm() == l.term
		}) {
			return false // the node is stopping
		}
	}
	if self {
		yes++
	}
	for yes < voters/2+1 && asked > 0 {
		if <-answers {
			yes++
		}
		asked--
	}
	return yes >= voters/2+1 && l.agree.term() == l.term
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
	if m.stopped {
		resp.Outcome = peerv1.RenewResponse_OUTCOME_REFUSED
		return resp
	}
	m.renewed = max(m.renewed, arrived)
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

// look decides whether a new view is due, and proposes it.
func (l *leader) look(ctx context.Context) {
	now := l.node.clock()
	s := l.agree.fsm.state()
	l.mu.Lock()
	if now-l.step > l.lease()/2 {
		// V5: a leader that was paused starts its waits again.
		l.log.Warn("was paused, waits start again", "for", now-l.step)
		for _, m := range l.members {
			m.renewed = max(m.renewed, now)
		}
		l.joins = map[string]joining{}
	}
	l.step = now
	next, why := l.draft(now, s.view())
	lonely := next.remove && !l.hearsMajority(now)
	l.mu.Unlock()
	switch {
	case lonely:
		l.handOver(ctx, now)
	case why != "":
		l.propose(ctx, s, next.view, why)
	}
}

// draft is the next view, if one is due. remove: it takes out members that fell
// silent. It needs l.mu.
func (l *leader) draft(now time.Duration, view ring.View) (next drafted, why string) {
	var reasons []string
	late := false // someone missed two renewals but cannot be removed yet
	replaced := l.replacements(view)
	for _, m := range view.Members {
		st := l.members[m.Identity]
		if st == nil {
			st = &standing{renewed: now}
			l.members[m.Identity] = st
		}
		silent := now - st.renewed
		switch {
		case st.left:
			reasons = append(reasons, m.Name+" left")
			continue
		case silent >= stretched(l.lease()):
			// V5: nothing was renewed for L stretched, and nothing will be until
			// the proposal is decided.
			st.stopped = true
			reasons = append(reasons, m.Name+" is silent")
			next.remove = true
			l.noteRemoval(m.ID, now)
			continue
		case replaced[m.ID]:
			st.stopped = true
			late = true
		case silent > 2*l.lease()/5+l.lease()/20:
			late = true
		}
		if st.leaving && !m.Leaving && next.others(view, l.members, m.Identity) {
			m.Leaving = true
			reasons = append(reasons, m.Name+" is leaving")
		}
		if st.refresh {
			reasons = append(reasons, m.Name+" needs an epoch")
			st.refresh = false
		}
		next.view.Members = append(next.view.Members, m)
	}
	// V3: while a member is late no join is proposed; then both are one view.
	if !late {
		for _, m := range l.admissible(now, next.view.Members) {
			next.view.Members = append(next.view.Members, m)
			reasons = append(reasons, m.Name+" joins")
		}
	}
	if len(next.view.Members) == 0 {
		return next, ""
	}
	next.view.Placement = ring.Placement
	next.view.Replicas = replicas(next.view)
	return next, strings.Join(reasons, ", ")
}

// drafted is a view in the making.
type drafted struct {
	view   ring.View
	remove bool
}

// others says whether somebody stays on the ring when this member leaves it.
func (d drafted) others(view ring.View, members map[ring.Identity]*standing, leaver ring.Identity) bool {
	for _, m := range d.view.Members {
		if !m.Leaving {
			return true
		}
	}
	after := false
	for _, m := range view.Members {
		if m.Identity == leaver {
			after = true
			continue
		}
		if st := members[m.Identity]; after && !m.Leaving && (st == nil || !st.leaving && !st.left && !st.stopped) {
			return true
		}
	}
	return false
}

// replicas is the R of a view. Copies besides the owner's are not made yet, so
// it is one.
func replicas(ring.View) int { return 1 }

// replacements are the ids that a later start of the same process asks to
// replace. It needs l.mu.
func (l *leader) replacements(view ring.View) map[string]bool {
	ids := map[string]bool{}
	for id, j := range l.joins {
		if m, ok := view.FindID(id); ok && m.Counter < j.member.Counter {
			ids[id] = true
		}
	}
	return ids
}

// admissible are the joiners that may be admitted beside those who stay. It
// needs l.mu.
func (l *leader) admissible(now time.Duration, stay []ring.Member) []ring.Member {
	var in []ring.Member
	for id, j := range l.joins {
		if now-j.at > l.lease() {
			delete(l.joins, id) // it stopped asking
			continue
		}
		if l.mayJoin(now, j, stay) {
			in = append(in, j.member)
		}
	}
	slices.SortFunc(in, func(a, b ring.Member) int { return strings.Compare(a.ID, b.ID) })
	return in
}

func (l *leader) mayJoin(now time.Duration, j joining, stay []ring.Member) bool {
	for _, m := range stay {
		if !j.reached[m.Identity] || m.ID == j.member.ID || m.Name == j.member.Name {
			return false
		}
	}
	// A process that keeps coming and going waits twice as long each time.
	if c, ok := l.comebacks[j.member.ID]; ok && c.times > 1 {
		return now-c.last >= l.lease()/4<<min(c.times, 8)
	}
	return true
}

// noteRemoval counts a removal of a member that did not leave in good order. It
// needs l.mu.
func (l *leader) noteRemoval(id string, now time.Duration) {
	c := l.comebacks[id]
	if now-c.last > time.Minute {
		c.times = 0
	}
	if c.last != now {
		c.times++
	}
	c.last = now
	l.comebacks[id] = c
}

// hearsMajority says whether a majority of the voters was heard within the last
// lease, by renewals or joins (V5). It needs l.mu.
func (l *leader) hearsMajority(now time.Duration) bool {
	heard := l.heard(now)
	seats, err := l.agree.seats()
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
	if err := l.agree.reseat(ctx, change{kind: changeTransfer}, ""); err != nil {
		l.log.Warn("leadership was not handed over", "error", err)
	}
}

// propose commits a view and tells everybody it concerns.
func (l *leader) propose(ctx context.Context, s state, v ring.View, why string) {
	ctx, cancel := context.WithTimeout(ctx, 10*l.lease())
	defer cancel()
	after, applied, err := l.agree.propose(ctx, s.epoch(), l.term, v)
	if err != nil || !applied {
		// Undecided, or of no effect: nobody who was stopped is renewed again by
		// this leadership unless it decides otherwise.
		l.log.Warn("proposal failed", "prev", s.epoch(), "why", why, "applied", applied, "error", err)
		return
	}
	l.log.Info("new view", "epoch", after.epoch(), "why", why, "view", after.view().String())
	now := l.node.clock()
	l.mu.Lock()
	members := make(map[ring.Identity]*standing, len(after.view().Members))
	for _, m := range after.view().Members {
		st := l.members[m.Identity]
		if st == nil {
			st = &standing{renewed: now}
			delete(l.joins, m.ID)
		}
		members[m.Identity] = st
	}
	l.members = members
	l.mu.Unlock()
	for _, m := range after.view().Members {
		l.node.tasks.Go(func() { l.push(ctx, m, after) })
	}
}

// push brings a member the new view at once, instead of with its next renewal.
func (l *leader) push(ctx context.Context, m ring.Member, s state) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.lease()/2)
	defer cancel()
	if err := l.node.peers.install(ctx, m, s); err != nil {
		l.log.Debug("view not pushed", "member", m.Name, "epoch", s.epoch(), "error", err)
	}
}

// keepVoters makes one change of Raft's configuration after the other (V1).
func (l *leader) keepVoters(ctx context.Context) {
	tick := time.NewTicker(max(l.lease()/20, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for l.changeVoters(ctx) { // until there is nothing to change now
		}
	}
}

// changeVoters makes the next change; false if there is none, or it failed.
func (l *leader) changeVoters(ctx context.Context) bool {
	e, err := l.electorate(ctx)
	if err != nil {
		return false
	}
	c := e.next()
	if c.kind == changeNone {
		return false
	}
	turn, cancel := context.WithTimeout(ctx, 5*l.lease())
	defer cancel()
	if err := l.agree.reseat(turn, c, l.node.addressOf(c.id)); err != nil {
		if ctx.Err() == nil { // a transfer ends this leadership
			l.log.Warn("voters not changed", "change", c.String(), "error", err)
		}
		return false
	}
	l.log.Info("voters changed", "change", c.String())
	return true
}

func (l *leader) electorate(ctx context.Context) (electorate, error) {
	seats, err := l.agree.seats()
	if err != nil {
		return electorate{}, err
	}
	e := electorate{self: string(l.agree.self), seats: seats, ready: map[string]bool{}}
	for _, m := range l.agree.fsm.state().view().Members {
		if m.Leaving {
			e.leaving = append(e.leaving, m.ID)
		} else {
			e.stay = append(e.stay, m.ID)
		}
	}
	now := l.node.clock()
	l.mu.Lock()
	e.live = l.heard(now)
	l.mu.Unlock()
	index := l.agree.applied()
	for _, s := range seats {
		if s.voter || !e.live[s.id] {
			continue
		}
		turn, cancel := context.WithTimeout(ctx, l.lease()/4)
		r, err := l.node.peers.term(turn, s.id)
		cancel()
		e.ready[s.id] = err == nil && r.GetApplied() >= index
	}
	return e, nil
}

// rounds lets many renewals share one round of confirmations, each round having
// begun after the renewals that it serves arrived (V4).
type rounds struct {
	confirm func(context.Context) bool
	mu      sync.Mutex
	next    *round // not begun yet; guarded by mu
	running bool   // guarded by mu
}

type round struct {
	done chan struct{}
	ok   bool
}

// wait gives the result of a round that begins after the call.
func (r *rounds) wait(ctx context.Context) bool {
	r.mu.Lock()
	mine := r.next
	if mine == nil {
		mine = &round{done: make(chan struct{})}
		r.next = mine
	}
	if !r.running {
		r.running = true
		r.mu.Unlock()
		r.work(ctx)
	} else {
		r.mu.Unlock()
	}
	select {
	case <-mine.done:
		return mine.ok
	case <-ctx.Done():
		return false
	}
}

// work runs rounds until nobody waits for another. The caller that found no
// round running does it, for itself and for those who come meanwhile.
func (r *rounds) work(ctx context.Context) {
	for {
		r.mu.Lock()
		cur := r.next
		r.next = nil
		if cur == nil {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		cur.ok = r.confirm(context.WithoutCancel(ctx))
		close(cur.done)
	}
}
