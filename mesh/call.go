package mesh

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/owner/mutant"
	"github.com/sgkandale/sharelock/ring"
)

// How long a call that was answered Retry rests before it is sent again, unless a
// new view comes first (Q1).
const (
	retryFirst = 2 * time.Millisecond
	retryMost  = 50 * time.Millisecond
)

// patience is how long a call goes on looking for an owner beyond the wait of
// the caller's request.
const patience = 10 * time.Second

// call is one request that this node took, on its way to the owner and back. One
// goroutine, that of the caller, drives it; answers come from others.
type call struct {
	node *Node
	req  owner.Request
	// sends[i] is when send i+1 left (Q3); began is when the caller's request
	// came. Most calls are sent once, which needs no more than one.
	sends []time.Duration
	sent1 [1]time.Duration
	began time.Duration

	// target is where the last send went.
	target target
	rest   time.Duration
	// underway: the next send that would be due was made before somebody drove the
	// call.
	underway bool

	wake chan struct{}
	gone atomic.Bool

	mu sync.Mutex
	// gen tells the answers of the current target from those of earlier ones;
	// guarded by mu.
	gen     uint64
	answers []owner.Answer // guarded by mu
	// early takes the first answer of a call that nobody drives yet (see session);
	// nil of one that is driven. Guarded by mu.
	early *started
	// launched: the first send of such a call has been made, so that a goroutine may
	// take it over; wanted: one shall as soon as it is. Guarded by mu.
	launched, wanted bool
}

// target is the owner that a call was sent to.
type target struct {
	epoch  uint32
	member ring.Identity
	ref    owner.Ref  // for the local owner
	link   *link.Link // or the link to another, and the number on it
	id     uint64
}

var _ owner.Caller = (*call)(nil)

func newCall(n *Node, r owner.Request) *call {
	c := &call{wake: make(chan struct{}, 1)}
	c.begin(n, n.clock(), r)
	return c
}

// begin fills in a call that has just been made.
func (c *call) begin(n *Node, now time.Duration, r owner.Request) {
	c.node, c.req, c.began = n, r, now
	c.sends = c.sent1[:0]
}

// Answer implements owner.Caller.
func (c *call) Answer(gen uint64, a owner.Answer) {
	c.mu.Lock()
	if gen != c.gen {
		c.mu.Unlock()
		return
	}
	if t := c.early; t != nil {
		last := a.Outcome == owner.Done || a.Outcome == owner.Failed
		drive := false
		if last {
			c.early = nil
			c.gen++ // nothing more is heard
		} else {
			c.answers = append(c.answers, a)
			drive = c.handOver()
		}
		c.mu.Unlock()
		if last {
			t.first(a)
		} else if drive {
			t.drive()
		}
		return
	}
	c.answers = append(c.answers, a)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// handOver readies a call for the goroutine that will drive it; false if its first
// send is still being made, and launch will see to it. It needs c.mu.
func (c *call) handOver() bool {
	if !c.launched {
		c.wanted = true
		return false
	}
	c.early, c.underway = nil, true
	c.wake = make(chan struct{}, 1)
	if len(c.answers) > 0 {
		c.wake <- struct{}{}
	}
	return true
}

// takeEarly readies a call that nobody drives; false if somebody does or will, or it
// was answered.
func (c *call) takeEarly() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.early != nil && c.handOver()
}

// launch ends the first send of a call that nobody drives; true if somebody shall
// drive it by now.
func (c *call) launch() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.launched = true
	return c.wanted && c.early != nil && c.handOver()
}

// Alive implements owner.Caller.
func (c *call) Alive() bool { return !c.gone.Load() }

func (c *call) take() []owner.Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.answers
	c.answers = nil
	return a
}

// aim points the call at the owner in the newest view. A new aim makes answers to
// earlier sends unheard.
func (c *call) aim(again bool) error {
	if err := c.node.member.ready(); err != nil {
		return err // Q4: a node that is cut off says so, it never guesses
	}
	return c.aimIn(c.node.views.Now(), again)
}

// aimIn is aim of a node that has just been found ready.
func (c *call) aimIn(a *epoch.View, again bool) error {
	m, ok := a.Ring.Owner(a.Partition(c.req.Key))
	if mutant.On(mutant.LocalFallback) && len(c.sends) > 0 {
		m = c.node.asMember() // the owner has not answered
	}
	if !ok {
		return &sharelock.Error{Err: sharelock.ErrNotReady, Message: "no member is on the ring"}
	}
	if !again && c.target.member == m.Identity && c.target.epoch != 0 {
		c.target.epoch = a.Epoch
		return nil
	}
	c.drop()
	c.mu.Lock()
	c.gen++
	c.answers = nil
	ref := owner.Ref{Caller: c, ID: c.gen}
	c.mu.Unlock()
	c.target = target{epoch: a.Epoch, member: m.Identity, ref: ref}
	if m.Identity == c.node.self {
		return nil
	}
	l, err := c.node.links.To(m)
	if err != nil {
		return &sharelock.Error{Err: sharelock.ErrNotReady, Message: err.Error()}
	}
	c.target.link, c.target.id = l, l.Register(ref)
	return nil
}

// drop unregisters the call from its link.
func (c *call) drop() {
	if c.target.link != nil {
		c.target.link.Forget(c.target.id)
		c.target.link = nil
	}
}

// send sends the request once more to the target.
func (c *call) send(r owner.Request) { c.sendAt(c.node.clock(), &r, true) }

// sendAt is send at a time that has just been read. The request is not changed any
// more. alone: no other call is sent by this goroutine right after it.
func (c *call) sendAt(now time.Duration, r *owner.Request, alone bool) {
	c.sends = append(c.sends, now)
	r.Send = uint32(len(c.sends))
	if c.target.link != nil {
		c.target.link.Send(c.target.id, c.target.epoch, r)
		return
	}
	a := c.node.views.Now()
	submit := a.Service.SubmitAt
	if alone {
		submit = a.Service.ServeInline
	}
	submit(now, a.Partition(r.Key), c.target.ref, r)
}

// lastSend is the number of the newest send.
func (c *call) lastSend() uint32 { return uint32(len(c.sends)) }

// sentAfter is how long the call had been going at least, by the caller's clock, when
// its send n left. Q3: that clock may be slower than this node's, and what is added
// here to the life of a lock would be a long wait's share too much.
func (c *call) sentAfter(n uint32) time.Duration { return (c.sends[n-1] - c.began) * 10 / 11 }

// retryWait gives how long to rest before the next send.
func (c *call) retryWait() time.Duration {
	if c.rest == 0 {
		c.rest = retryFirst
		return c.rest
	}
	c.rest = min(c.rest*2, retryMost)
	return c.rest
}

// do drives a call that is answered once: everything but acquire. It sends again
// whenever it is told to, until the context or its patience ends (Q1).
func (c *call) do(ctx context.Context) (owner.Answer, error) {
	defer c.drop()
	defer c.gone.Store(true)
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for again := false; ; again = true {
		changed := c.node.views.Changed()
		if !c.underway {
			if err := ctx.Err(); err != nil {
				return owner.Answer{}, err
			}
			if err := c.aim(again); err != nil {
				return owner.Answer{}, err
			}
			c.send(c.req)
		}
		c.underway = false
		a, err := c.await(ctx, limit.C)
		if err != nil {
			return owner.Answer{}, err
		}
		switch a.Outcome {
		case owner.Done:
			return a, c.whole(a)
		case owner.Failed:
			return a, a.Err
		}
		if err := c.pause(ctx, limit.C, changed); err != nil {
			return owner.Answer{}, err
		}
	}
}

// whole checks that an answer has what its kind of request promises, since it may
// come from another process.
func (c *call) whole(a owner.Answer) error {
	ok := true
	switch c.req.Kind {
	case owner.Get, owner.Check:
		ok = a.Lock != nil
	case owner.Acquire, owner.Renew, owner.Release, owner.Force:
		ok = len(a.Holds) > 0
	}
	if !ok {
		return &sharelock.Error{Err: sharelock.ErrInternal, Message: "the key's owner sent an answer without its content"}
	}
	return nil
}

// await gives the answer to the newest send. It also ends, with Retry, when the
// call has to be sent again: the old owner may never answer.
func (c *call) await(ctx context.Context, limit <-chan time.Time) (owner.Answer, error) {
	for {
		changed := c.node.views.Changed()
		if c.moved() {
			return owner.Answer{Outcome: owner.Retry}, nil
		}
		select {
		case <-c.wake:
			for _, a := range c.take() {
				if a.Outcome != owner.Queued && (a.Send == 0 || a.Send == c.lastSend()) {
					return a, nil
				}
			}
		case <-changed:
		case <-ctx.Done():
			return owner.Answer{}, ctx.Err()
		case <-limit:
			return owner.Answer{}, errNoOwner
		}
	}
}

// moved: there is a newer view than the one the call was sent in, so whoever has
// it has dropped it (A1); or this node may not act any more (Q4).
func (c *call) moved() bool {
	return c.node.epoch() != c.target.epoch || c.node.member.ready() != nil
}

// pause rests before the next send; a newer view than the one before the last
// send ends it at once.
func (c *call) pause(ctx context.Context, limit <-chan time.Time, changed <-chan struct{}) error {
	t := time.NewTimer(c.retryWait())
	defer t.Stop()
	select {
	case <-changed:
		return nil
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-limit:
		return errNoOwner
	}
}

var errNoOwner = &sharelock.Error{
	Err: sharelock.ErrNotReady, Message: "the key's owner did not answer", RetryAfter: time.Second,
}
