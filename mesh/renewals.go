package mesh

import (
	"context"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/owner/mutant"
)

const (
	// roundPart is how many holds are looked at before others may have their turn.
	roundPart = 256
	// roundMost is about how many holds there are in one round.
	roundMost = 16 * roundPart
	// tellAfter is the longest that a client waits to hear of a renewal because others
	// are under way.
	tellAfter = 10 * time.Millisecond
	// longestSleep is the longest that the loop trusts a timer, which does not count
	// suspended time.
	longestSleep = time.Second
)

// renewals keep the holds alive that clients have attached to their sessions with
// this node. In rounds, those that are due and whose client has sent a keepalive
// since their last renewal are renewed with their owners: one request for all of a
// partition, those of all sessions together.
//
// Q3: a renewal counts from the newest keepalive that had come *before its round
// began*, so from a moment before the owner could know of it; and it counts when the
// owner has confirmed this very hold. Whatever else happens to the request, the hold
// is tried again, as of a later keepalive perhaps, and nothing is said to its client.
type renewals struct {
	node *Node
	wake chan struct{}

	mu sync.Mutex
	// fresh are those that were not renewed here yet; the wheels have the others. Guarded
	// by mu.
	fresh, wheels wheels
	// bytes is what the holds of all sessions take, see keptBytes. Guarded by mu.
	bytes int
	// rests is until when the loop sleeps unless it is woken. Guarded by mu.
	rests time.Duration
	// flying are the requests under way, answered those to be looked at. Guarded by mu.
	flying   map[*group]struct{}
	answered []*group
	// told are sessions with something to hear, since when. Guarded by mu.
	told  []*session
	since time.Duration

	// byPartition is the group that is being filled, for each partition. Only the loop
	// uses it.
	byPartition map[uint32]*group
}

func newRenewals(n *Node) *renewals {
	return &renewals{node: n, wake: make(chan struct{}, 1), flying: map[*group]struct{}{}, byPartition: map[uint32]*group{}}
}

// group is one request to renew many holds of a partition.
type group struct {
	renewals *renewals
	holds    []*kept
	began    time.Duration
	epoch    uint32
	bytes    int
	req      owner.Request
	link     *link.Link // nil for the local owner
	id       uint64
	// answer is the first that came; guarded by renewals.mu.
	answer owner.Answer
	// settled: later answers are not heard. Guarded by renewals.mu.
	settled bool
}

var _ owner.Caller = (*group)(nil)

// Alive implements owner.Caller.
func (*group) Alive() bool { return true }

// Answer implements owner.Caller.
func (g *group) Answer(_ uint64, a owner.Answer) {
	r := g.renewals
	r.mu.Lock()
	if !g.settled {
		g.settled, g.answer = true, a
		r.answered = append(r.answered, g)
	}
	first := len(r.answered) == 1
	r.mu.Unlock()
	if first {
		r.nudge()
	}
}

func (r *renewals) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run is the loop.
func (r *renewals) run(ctx context.Context) {
	timer := time.NewTimer(longestSleep)
	defer timer.Stop()
	for {
		changed := r.node.views.Changed()
		timer.Reset(r.step())
		select {
		case <-r.wake:
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// step does what is due and gives how long nothing more will be.
func (r *renewals) step() time.Duration {
	now, a := r.node.clock(), r.node.views.Now()
	if a == nil {
		return longestSleep
	}
	notReady := r.node.member.ready()
	r.settleAll(now, func(g *group) bool { return notReady != nil || g.epoch != a.Epoch })
	groups, more := r.round(now, a, notReady)
	for _, g := range groups {
		r.send(now, a, g)
	}
	if more {
		return 0
	}
	return min(max(r.tellAll(now)-r.node.clock(), 0), longestSleep)
}

// settleAll takes the answers that have come. Requests that moved, since there is a
// newer view or this node may not act any more (A1, Q4), are not waited for: nobody
// may answer them.
func (r *renewals) settleAll(now time.Duration, moved func(*group) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for g := range r.flying {
		if !g.settled && moved(g) {
			g.settled, g.answer = true, owner.Answer{Outcome: owner.Retry}
			r.answered = append(r.answered, g)
		}
	}
	for len(r.answered) > 0 {
		g := r.answered[0]
		r.answered = r.answered[1:]
		r.settle(now, g)
		r.breathe()
	}
	r.answered = nil
}

// breathe lets others have mu, which the loop holds.
func (r *renewals) breathe() {
	r.mu.Unlock()
	r.mu.Lock()
}

// tellAll lets the clients hear what became of their holds when nothing is under way
// any more, or some time after the first of it; and gives when the next hold is due,
// or the clients are to be told.
func (r *renewals) tellAll(now time.Duration) time.Duration {
	r.mu.Lock()
	at := now + longestSleep
	for _, ws := range []*wheels{&r.fresh, &r.wheels} {
		if due, some := ws.due(); some {
			at = min(at, due)
		}
	}
	r.rests = at
	if len(r.told) > 0 && len(r.flying) > 0 && now-r.since < tellAfter {
		r.mu.Unlock()
		return min(at, r.since+tellAfter)
	}
	told := r.told
	r.told = nil
	heard := make([]keeping, len(told))
	for i, s := range told {
		heard[i] = keeping{renewed: s.keeping.renewed, ended: s.keeping.ended}
		s.keeping.renewed, s.keeping.ended = nil, nil
	}
	r.mu.Unlock()
	for i, s := range told {
		s.hear(&heard[i])
	}
	return at
}

// round makes the requests for the holds that are due; more: for a part of them, since
// many are.
func (r *renewals) round(now time.Duration, a *epoch.View, notReady error) (groups []*group, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer clear(r.byPartition)
	var due []*kept
	for range roundMost / roundPart {
		// Half of them are fresh, at most, while others are due.
		due = r.fresh.take(now, r.wheels.take(now, due[:0], roundPart/2), roundPart)
		if len(due) < roundPart {
			due = r.wheels.take(now, due, roundPart)
		}
		if len(due) == 0 {
			return groups, false
		}
		for _, k := range due {
			switch {
			case notReady != nil:
				r.end(now, k, notReady) // Q4: another node may be able to
			case k.session.keeping.alive > k.asOf:
				groups = r.gather(now, a, k, groups)
			case now-k.session.keeping.heard > rules.Stretch(k.TTL):
				// Q3: the client's own time for it is over, and so it is at the owner, or soon.
				r.end(now, k, errSilentClient)
			default:
				r.wheels.rest(now, k) // its client has not been heard of since
			}
		}
		r.breathe()
	}
	return groups, true
}

// gather puts a hold into a request. It needs mu.
func (r *renewals) gather(now time.Duration, a *epoch.View, k *kept, groups []*group) []*group {
	g := r.byPartition[k.partition]
	if g == nil || len(g.holds) == owner.MaxRenewals || g.bytes+len(k.Key) > owner.MaxRenewalBytes {
		g = &group{renewals: r, began: now, epoch: a.Epoch, req: owner.Request{Kind: owner.RenewMany, Key: k.Key, Send: 1}}
		r.byPartition[k.partition] = g
		groups = append(groups, g)
		r.flying[g] = struct{}{}
	}
	k.asked = k.session.keeping.alive
	g.holds = append(g.holds, k)
	g.req.Renewals = append(g.req.Renewals, &k.Renewal)
	g.req.TTL = max(g.req.TTL, k.TTL)
	g.bytes += len(k.Key)
	return groups
}

// send sends a request to the owner of its partition.
func (r *renewals) send(now time.Duration, a *epoch.View, g *group) {
	p := a.Partition(g.req.Key)
	m, ok := a.Ring.Owner(p)
	if !ok {
		g.Answer(0, owner.Answer{Outcome: owner.Retry})
		return
	}
	ref := owner.Ref{Caller: g}
	if m.Identity == r.node.self {
		a.Service.SubmitAt(now, p, ref, &g.req)
		return
	}
	l, err := r.node.links.To(m)
	if err != nil {
		g.Answer(0, owner.Answer{Outcome: owner.Retry})
		return
	}
	g.link, g.id = l, l.Register(ref)
	l.Send(g.id, g.epoch, &g.req)
}

// settle takes the answer to a request. It needs mu.
func (r *renewals) settle(now time.Duration, g *group) {
	delete(r.flying, g)
	if g.link != nil {
		g.link.Forget(g.id)
	}
	done := g.answer.Outcome == owner.Done || mutant.On(mutant.RenewedUnconfirmed)
	lost := g.answer.Lost
	for i, k := range g.holds {
		gone := len(lost) > 0 && lost[0] == uint32(i)
		if gone {
			lost = lost[1:]
		}
		switch {
		case k.detached():
		case !done:
			r.wheels.rest(now, k)
		case gone:
			r.end(now, k, &sharelock.Error{Err: sharelock.ErrStaleToken})
		default:
			r.renewed(now, g.began, k)
		}
	}
}

// renewed notes that an owner has confirmed a hold. It needs mu.
func (r *renewals) renewed(now, began time.Duration, k *kept) {
	s := k.session
	if mutant.On(mutant.NewestKeepalive) {
		k.asked = s.keeping.alive
	}
	k.asOf = k.asked
	r.tell(now, s)
	list := s.keeping.renewed
	if n := len(list); n == 0 || list[n-1].keepalive != k.asOf {
		list = append(list, renewedHolds{keepalive: k.asOf})
	}
	last := &list[len(list)-1]
	last.ids = append(last.ids, k.id)
	s.keeping.renewed = list
	r.wheels.renewed(now, began, ample(r.node.lease()), k)
}

// end lets go of a hold and has its client told why. It needs mu.
func (r *renewals) end(now time.Duration, k *kept, err error) {
	s := k.session
	r.tell(now, s)
	s.keeping.ended = append(s.keeping.ended, endedHold{k.id, err})
	r.detach(s, k.id)
}

// tell enters a session among those that have something to hear, before it has. It
// needs mu.
func (r *renewals) tell(now time.Duration, s *session) {
	if len(s.keeping.renewed) == 0 && len(s.keeping.ended) == 0 {
		if len(r.told) == 0 {
			r.since = now
		}
		r.told = append(r.told, s)
	}
}
