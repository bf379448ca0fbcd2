package mesh

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner/mutant"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// member is this process's side of its membership: it joins (V3), keeps its
// lease (V4) and leaves (V7). One goroutine runs it.
type member struct {
	node *Node
	log  *slog.Logger
	kick chan struct{}

	mu sync.Mutex
	// hint is the peer address of who was last said to lead; "" is unknown.
	hint string // guarded by mu
	// leaderID is the id of the last leader that answered.
	leaderID string // guarded by mu
	// voters are the ids of the voters as the last answer named them.
	voters []string // guarded by mu
	// leaving: leave was asked for (V7). handedOver: nothing is held any more. forGood:
	// the Raft seat is given up, too.
	leaving, handedOver, forGood bool // guarded by mu
	// left is closed when this process may stop; ended when run has returned.
	left, ended chan struct{}
	leftOnce    sync.Once
	// leaderless is since when a process that is to be let go finds no leader; 0 is not.
	leaderless time.Duration
	// unanswered counts the requests for a lease in a row that failed, by address; it is
	// empty when a leader answers. Only run uses it.
	unanswered map[string]int
	// noticed is when usedTwice last said so; 0 is never.
	noticed time.Duration
	// answered: a leader answered the last request for a lease.
	answered bool
	// failed is the address that did not answer last; it is passed over once.
	failed string // guarded by mu
	// tried is the address that was asked last for want of a better one.
	tried string // guarded by mu
	// why the last attempt to join came to nothing, for Ready.
	why string // guarded by mu
	// taken is since when joining is refused because another live process has
	// this node's name or id; 0 is not.
	taken time.Duration
	// lost is what stranded said last; only run uses it.
	lost string
	// undialledBy names the members that could not dial this process back; only run uses
	// it.
	undialledBy string
}

func newMember(n *Node) *member {
	return &member{
		node: n, log: n.log, kick: make(chan struct{}, 1), left: make(chan struct{}), ended: make(chan struct{}),
		unanswered: map[string]int{},
	}
}

func (m *member) wake() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// dismiss lets this process stop (V7).
func (m *member) dismiss() { m.leftOnce.Do(func() { close(m.left) }) }

// run joins and renews until ctx ends, the member has left, or joining turned
// out to be impossible; then it returns why.
func (m *member) run(ctx context.Context) error {
	defer close(m.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	had := false
	for {
		var changed <-chan struct{} = m.node.views.Changed()
		select {
		case <-ctx.Done():
			return nil
		case <-m.left:
			return nil
		case <-timer.C:
		case <-m.kick:
		case <-changed:
			// A view that this process is new in brings no lease: ask at once.
			if m.node.leased() {
				continue
			}
		}
		pause, err := m.step(ctx)
		if err != nil {
			return err
		}
		if leased := m.node.leased(); leased != had {
			had = leased
			if !leased {
				m.node.views.Wake() // Q4: calls that wait are told
			}
		}
		select {
		case <-m.left:
			return nil
		default:
		}
		timer.Reset(pause)
	}
}

// step makes one attempt to renew or to join, and says when to make the next.
func (m *member) step(ctx context.Context) (time.Duration, error) {
	lease := m.node.lease()
	a := m.node.views.Now()
	m.mu.Lock()
	leaving := m.leaving
	m.mu.Unlock()
	if a != nil {
		if _, in := a.Find(m.node.self); in {
			if m.renew(ctx, a) && !leaving {
				return lease / 5, nil
			}
			return lease / 40, nil // V7: whoever leaves learns soon what became of it
		}
		a.Service.EndLease()
	}
	if leaving {
		m.part(ctx, a)
		return lease / 40, nil
	}
	return lease / 20, m.join(ctx, a)
}

// part asks the leader to let this process go, which is in no view and was told to stop
// (V7). It may go at once if it was never in a view, and if nobody answers: then there is no
// leader, and none can be elected that this process's vote would help. If others answer, none
// of which leads, their election may need that vote: it is over within the length of a lease.
func (m *member) part(ctx context.Context, a *epoch.View) {
	if a == nil {
		m.dismiss()
		return
	}
	m.mu.Lock()
	m.handedOver = true
	m.mu.Unlock()
	if m.renew(ctx, a) || m.heardLeader() {
		return
	}
	now := m.node.clock()
	if m.leaderless == 0 {
		m.leaderless = now
	}
	if m.unheard(a) || now-m.leaderless >= m.node.lease() {
		m.log.Warn("stopping without the leader's permission: there is no leader")
		m.dismiss()
	}
}

// unheard reports whether every other process that is known was asked twice since a leader
// answered last, and did not answer: the first failure may be that of a connection which was
// broken before, the second is of one that was made anew.
func (m *member) unheard(a *epoch.View) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, addr := range m.others(a, "") {
		if m.unanswered[addr] < 2 {
			return false
		}
	}
	return true
}

// heardLeader reports whether the last request was answered by a leader, and notes it.
func (m *member) heardLeader() bool {
	if m.answered {
		m.leaderless = 0
	}
	return m.answered
}

// renew asks for a lease; true if it got one.
func (m *member) renew(ctx context.Context, a *epoch.View) bool {
	m.mu.Lock()
	req := &peerv1.RenewRequest{
		Member: ringproto.EncodeIdentity(m.node.self), Epoch: a.Epoch,
		Leaving: m.leaving, Done: m.handedOver, ForGood: m.forGood, Refresh: a.Service.NeedsRefresh(),
		Mute: m.node.agree.DiskError() != nil,
	}
	m.mu.Unlock()
	req.Complaints = m.node.complaints(a)
	req.Callers = m.node.claims(a)
	if a.Leaving(m.node.self) {
		// V6a: nothing is needed of this member any more.
		req.Told = a.Service.Told(a.MarkedSince(m.node.self)) == a.Constants().Partitions()
	}
	if req.GetDone() {
		a.Service.EndLease() // V7: it stops acting before it says so
	}
	ctx, cancel := context.WithTimeout(ctx, m.node.lease()/4)
	defer cancel()
	m.answered = false
	addr := m.leaderAddr(a)
	if addr == "" {
		return false
	}
	sent := m.node.clock() // V4: the lease counts from the own send time
	resp, err := m.node.peers.Renew(ctx, addr, req)
	if err != nil {
		m.forget(addr)
		m.unanswered[addr]++
		m.log.Debug("not renewed", "leader", addr, "error", err)
		return false
	}
	delete(m.unanswered, addr)
	if m.answered = resp.GetOutcome() != peerv1.RenewResponse_OUTCOME_NOT_LEADER; m.answered {
		clear(m.unanswered)
	}
	return m.take(addr, sent, resp)
}

// take is told what the leader at addr answered to a request that was sent then; true
// if there is no need to ask again soon.
func (m *member) take(addr string, sent time.Duration, resp *peerv1.RenewResponse) bool {
	if mutant.On(mutant.LeaseFromAnswer) {
		sent = m.node.clock()
	}
	// V4: the view is installed before the answer counts.
	if err := m.node.views.Offer(view.StateFromProto(resp.GetHistory())); err != nil {
		m.log.Error("view refused", "error", err)
		return false
	}
	if resp.GetNotice() != "" {
		m.usedTwice(resp.GetNotice())
	}
	switch resp.GetOutcome() {
	case peerv1.RenewResponse_OUTCOME_RENEWED:
		now := m.node.views.Now()
		if _, in := now.Find(m.node.self); !in || now.Epoch < resp.GetEpoch() && !mutant.On(mutant.LeaseBeforeView) {
			return false
		}
		now.Service.SetLease(sent + m.node.lease())
		m.mu.Lock()
		m.leaderID, m.voters, m.hint = resp.GetLeaderId(), resp.GetVoters(), addr
		m.mu.Unlock()
		m.node.peers.NoteReached(resp.GetLeaderId())
		m.node.leaseChanged()
		return true
	case peerv1.RenewResponse_OUTCOME_LEFT:
		if now := m.node.views.Now(); now != nil {
			now.Service.EndLease()
		}
		m.dismiss()
		return true
	case peerv1.RenewResponse_OUTCOME_NOT_LEADER:
		m.follow(addr, resp.GetLeader())
	default:
		m.log.Debug("not renewed", "leader", addr, "outcome", resp.GetOutcome())
	}
	return false
}

// join asks to be admitted. The error is final: this process cannot be a member.
func (m *member) join(ctx context.Context, a *epoch.View) error {
	ctx, cancel := context.WithTimeout(ctx, m.node.lease()/2)
	defer cancel()
	addr := m.leaderAddr(a)
	if addr == "" {
		m.say(cmp.Or(m.stranded(), "no member of the mesh is known yet"))
		return nil
	}
	wrong := ""
	req := &peerv1.JoinRequest{Member: ringproto.EncodeMember(m.node.asMember()), OldestRelease: m.node.program().Oldest}
	if a != nil {
		req.Reached, wrong = m.probe(ctx, a.View)
		req.Callers = m.node.claims(a)
	}
	resp, err := m.node.peers.Join(ctx, addr, req)
	if err != nil {
		m.forget(addr)
		m.say(fmt.Sprintf("%s does not answer: %v", addr, err))
		return nil
	}
	if err := m.learn(addr, resp); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	m.say(resp.GetWhy())
	switch resp.GetOutcome() {
	case peerv1.JoinResponse_OUTCOME_NOT_LEADER:
		m.follow(addr, resp.GetLeader())
		if m.taken == 0 {
			m.say(cmp.Or(m.stranded(), "the mesh has no leader now"))
		}
		return nil
	case peerv1.JoinResponse_OUTCOME_NAME_TAKEN, peerv1.JoinResponse_OUTCOME_ID_TAKEN:
		return m.refused(resp)
	case peerv1.JoinResponse_OUTCOME_DIRECTORY_IN_USE:
		// V3: it asks again, and takes the place once the other one is gone. Until then it
		// must not vote in that one's name.
		m.node.doubled(true)
		m.usedTwice(resp.GetWhy())
		return nil
	}
	m.node.doubled(false)
	if wrong != "" {
		m.say(wrong)
	}
	m.taken = 0
	return nil
}

// stranded is lostMajority, which it also logs when it has changed.
func (m *member) stranded() string {
	text := m.node.lostMajority()
	if text != m.lost && text != "" {
		m.log.Warn("no mesh can form", "why", text)
	}
	m.lost = text
	return text
}

// refused gives up when another process has kept this node's name for two
// leases: a shorter time may be the end of an earlier run of this node.
func (m *member) refused(resp *peerv1.JoinResponse) error {
	if resp.GetOutcome() == peerv1.JoinResponse_OUTCOME_ID_TAKEN {
		return fmt.Errorf("join: %s: was the data directory copied, or brought back from a backup?", resp.GetWhy())
	}
	now := m.node.clock()
	if m.taken == 0 {
		m.taken = now
		m.log.Error("refused by the mesh", "why", resp.GetWhy())
	}
	if now-m.taken > 2*m.node.lease() {
		return fmt.Errorf("join: %s", resp.GetWhy())
	}
	return nil
}

// usedTwice says, once a minute, that this node's data directory is in use twice (V3).
func (m *member) usedTwice(notice string) {
	if now := m.node.clock(); m.noticed == 0 || now-m.noticed >= time.Minute {
		m.noticed = now
		m.log.Error("the data directory is in use twice", "what", notice)
	}
}

// probe asks the members of a view to dial this process back (V3). It returns those that
// did, and what is wrong with the others for people.
func (m *member) probe(ctx context.Context, v ring.View) (reached []*peerv1.Identity, wrong string) {
	ctx, cancel := context.WithTimeout(ctx, m.node.lease()/4)
	defer cancel()
	self := ringproto.EncodeMember(m.node.asMember())
	undialled := make([]string, len(v.Members))
	silent := make([]string, len(v.Members))
	var wg sync.WaitGroup
	for i, other := range v.Members {
		if other.ID == m.node.self.ID {
			continue // an earlier run of this process, which is to be replaced
		}
		wg.Go(func() {
			resp, err := m.node.peers.Probe(ctx, other, self)
			switch {
			case err != nil:
				silent[i] = fmt.Sprintf("member %s does not answer at %s: %v", other.Name, other.Peer, err)
			case resp.GetEpoch() < v.Epoch:
				// What it remembers of this process may be from before that was removed.
				silent[i] = fmt.Sprintf("member %s is in an older view", other.Name)
			case resp.GetUndialled() != "":
				undialled[i] = fmt.Sprintf("member %s cannot dial this node at %s (mesh.peer_advertise): %s", other.Name, self.GetPeer(), resp.GetUndialled())
			}
		})
	}
	wg.Wait()
	var by, all []string
	for i, other := range v.Members {
		switch {
		case undialled[i] != "":
			by, all = append(by, other.Name), append(all, undialled[i])
		case silent[i] != "":
			all = append(all, silent[i])
		case other.ID != self.GetIdentity().GetId():
			reached = append(reached, ringproto.EncodeIdentity(other.Identity))
		}
	}
	m.reportUndialled(strings.Join(by, ", "), self.GetPeer(), strings.Join(all, "; "))
	return reached, strings.Join(all, "; ")
}

// reportUndialled logs that members cannot dial this process, when that has changed.
func (m *member) reportUndialled(by, addr, wrong string) {
	if by == m.undialledBy {
		return
	}
	m.undialledBy = by
	if by == "" {
		m.log.Info("every member that answers can dial this node", "address", addr)
		return
	}
	m.log.Warn("members cannot dial this node, so it is not admitted: is mesh.peer_advertise right, and the port open?",
		"address", addr, "members", by, "error", wrong)
}

// leaderAddr is where to send the next request to the leader: who leads as far
// as Raft or the last answer knows, else one process after the other.
func (m *member) leaderAddr(a *epoch.View) string {
	m.mu.Lock()
	failed := m.failed
	m.failed = ""
	m.mu.Unlock()
	if id := m.node.agree.Leader(); id != "" {
		// Raft takes a while to notice that its leader is gone.
		if addr := m.node.addressOf(id); addr != "" && addr != failed {
			return addr
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hint != "" {
		return m.hint
	}
	m.tried = following(m.tried, m.others(a, failed))
	return m.tried
}

// others are the peer addresses of all other processes that may know who leads, each once.
// The address that has just failed is left out unless there is no other. It needs m.mu.
func (m *member) others(a *epoch.View, failed string) []string {
	var known []string
	add := func(addr string) {
		if addr != m.node.addrs.Peer && addr != failed {
			known = append(known, addr)
		}
	}
	if a != nil {
		for _, other := range a.Members {
			add(other.Peer)
		}
	}
	for _, g := range m.node.gossip.Processes() {
		if len(g.Meta.GetClusterId()) > 0 {
			add(g.Meta.GetPeer())
		}
	}
	if len(known) == 0 && failed != "" {
		known = append(known, failed)
	}
	slices.Sort(known)
	return slices.Compact(known)
}

// following returns the address after last in a sorted list, which begins again at its end;
// "" of an empty list. So every address has its turn, also while the list changes.
func following(last string, sorted []string) string {
	if len(sorted) == 0 {
		return ""
	}
	at, found := slices.BinarySearch(sorted, last)
	if found {
		at++
	}
	return sorted[at%len(sorted)]
}

// follow remembers who is said to lead.
func (m *member) follow(asked, leader string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hint = ""
	if leader != asked {
		m.hint = leader
	}
}

func (m *member) forget(addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hint == addr {
		m.hint = ""
	}
	m.failed = addr
}

func (m *member) say(why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if why != "" {
		m.why = why
	}
}

// leaveForGood has leave give up the Raft seat, too (V7).
func (m *member) leaveForGood(forGood bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forGood = m.forGood || forGood
}

// leave asks to be taken off the ring, waits until nothing is held any more or
// ctx ends (V7).
func (m *member) leave(ctx context.Context) {
	m.mu.Lock()
	m.leaving = true
	m.forGood = m.forGood || m.node.data.Volatile()
	m.mu.Unlock()
	m.wake()
	m.waitHandedOver(ctx)
}

// waitHandedOver returns when G1 has told this member of every partition since it was
// marked (V7), or nobody is there to take what it holds, or it was let go, or nothing has
// moved for leaveTime, or ctx ends. That it holds no copy is not enough: it may be the last
// witness of section 4.2.
func (m *member) waitHandedOver(ctx context.Context) {
	tick := time.NewTicker(m.node.lease() / 40)
	defer tick.Stop()
	last, moved := handOverState{}, m.node.clock()
	for {
		a := m.node.views.Now()
		if a == nil || m.alone(a) || !a.Has(m.node.self) {
			return
		}
		s := m.handOverState(a)
		if s.marked && s.told == a.Constants().Partitions() {
			return
		}
		if now := m.node.clock(); s != last {
			last, moved = s, now
		} else if now-moved >= leaveTime {
			m.log.Warn("leaving before everything was handed over", "told", s.told, "copies", s.copies)
			return
		}
		select {
		case <-ctx.Done():
			m.log.Warn("leaving before everything was handed over", "told", s.told, "copies", s.copies)
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

func (m *member) handOverState(a *epoch.View) handOverState {
	return handOverState{
		marked: a.Leaving(m.node.self),
		told:   a.Service.Told(a.MarkedSince(m.node.self)), copies: a.Service.Stats().Copies,
	}
}

// alone reports whether nobody else is in the view and no leader would have to be told. A
// member without a vote does not learn from Raft who leads; while it holds a lease, there
// is a leader.
func (m *member) alone(a *epoch.View) bool {
	return len(a.Members) == 1 && a.Members[0].Identity == m.node.self &&
		m.node.agree.Leader() == "" && !a.Service.LeaseValid()
}

// giveUp sends the last request (V7) until it is answered: this process may stop. Until
// then it votes.
func (m *member) giveUp(ctx context.Context) {
	a := m.node.views.Now()
	if a == nil {
		return
	}
	defer a.Service.EndLease()
	m.mu.Lock()
	m.handedOver = true
	m.mu.Unlock()
	m.wake()
	tick := time.NewTicker(m.node.lease() / 40)
	defer tick.Stop()
	for !m.alone(a) {
		select {
		case <-m.left:
			return
		case <-m.ended:
			return
		case <-ctx.Done():
			m.log.Warn("stopping without the leader's permission")
			return
		case <-tick.C:
		}
	}
}

// ready says why this node may not serve, or nil.
func (m *member) ready() error {
	a := m.node.views.Now()
	m.mu.Lock()
	why, gone := m.why, m.handedOver
	m.mu.Unlock()
	switch {
	case gone:
		return &sharelock.Error{Err: sharelock.ErrNotReady, Message: "this node has left the mesh", RetryAfter: time.Second}
	case a == nil:
		return &sharelock.Error{Err: sharelock.ErrNotReady, Message: "this node is in no view yet: " + why, RetryAfter: time.Second}
	case !a.Service.LeaseValid():
		if _, in := a.Find(m.node.self); !in {
			return &sharelock.Error{Err: sharelock.ErrNotReady, Message: "this node is not in the view: " + why, RetryAfter: time.Second}
		}
		return &sharelock.Error{Err: sharelock.ErrNoQuorum, Message: "this node is cut off: its lease has run out", RetryAfter: time.Second}
	}
	return nil
}
