package mesh

import (
	"context"
	"errors"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/owner/mutant"
)

// longestPeriod is the most that a waiting acquire stays silent (Q5).
const longestPeriod = 2 * time.Second

// period is how often a waiting acquire is sent again (Q5): it re-attaches the
// waiter to its place, keeps the clock of Q3 young, and shows that it lives.
func period(ttl time.Duration) time.Duration { return min(ttl/3, longestPeriod) }

// acquire drives an acquire until it is answered or given up.
type acquire struct {
	*call
	wait time.Duration
	// granted is a grant that answers an earlier send than the newest: the answer
	// to the newest follows, or the link breaks.
	granted bool
	// queued is told where the caller stands in line, when that has changed; position is
	// what it was told last. Nil if the caller has not asked.
	queued   func(position uint32)
	position uint32
	// listens, unless it is nil, ends when nobody listens for the answer any more. That ends
	// the call once it has to wait; waits says that it does.
	listens <-chan struct{}
	waits   bool
}

// finish drives the acquire to its end.
func (a *acquire) finish(ctx context.Context) (sharelock.Hold, error) {
	defer a.drop()
	defer a.gone.Store(true)
	h, err := a.run(ctx)
	if err != nil && !answered(err) {
		a.giveUp(ctx, err)
	}
	return h, err
}

// answered: the error is the owner's word, so there is nothing left to give up.
func answered(err error) bool {
	return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) &&
		!errors.Is(err, sharelock.ErrNotReady) && !errors.Is(err, sharelock.ErrNoQuorum)
}

func (a *acquire) run(ctx context.Context) (sharelock.Hold, error) {
	limit := time.NewTimer(a.wait + patience)
	defer limit.Stop()
	again := time.NewTimer(period(a.req.TTL))
	defer again.Stop()
	fresh := false
	for {
		changed := a.node.views.Changed()
		if !a.underway {
			// A call that was cancelled is not sent once more, after a view change say: its
			// client's fence may have been there (Q2).
			if err := ctx.Err(); err != nil {
				return sharelock.Hold{}, err
			}
			if err := a.aim(fresh); err != nil {
				return sharelock.Hold{}, err
			}
			r := a.req
			if a.wait > 0 {
				// Never 0, however late it is: the owner does not remember the id of a try that it
				// refuses, and an earlier send by another node could be granted later (Q2).
				r.Wait = max(a.wait-(a.node.clock()-a.began), 1)
			}
			a.send(r)
		}
		a.underway = false
		again.Reset(period(a.req.TTL))
		answer, err := a.listen(ctx, limit.C, again.C)
		if err != nil {
			return sharelock.Hold{}, err
		}
		switch answer.Outcome {
		case owner.Done:
			if err := a.whole(answer); err != nil {
				return sharelock.Hold{}, err
			}
			return a.hold(answer), nil
		case owner.Failed:
			return sharelock.Hold{}, answer.Err
		case owner.Queued: // time to send again, to the same owner
			fresh = false
			continue
		}
		fresh, a.granted, a.waits = true, false, true
		select {
		case <-a.deserted():
			return sharelock.Hold{}, context.Canceled
		default:
		}
		if err := a.pause(ctx, limit.C, changed); err != nil {
			return sharelock.Hold{}, err
		}
	}
}

// listen waits for the answer to the newest send: Done, Failed or Retry. Queued
// says that it is time to send again.
//
// A grant counts only when it answers the newest send. Otherwise a send is still
// on its way, and could reach the owner after the lock was released: then the id
// would be granted twice, because the owner remembers only the ids that it saw
// more than once (Q2).
func (a *acquire) listen(ctx context.Context, limit, again <-chan time.Time) (owner.Answer, error) {
	for {
		changed := a.node.views.Changed()
		if a.moved() {
			return owner.Answer{Outcome: owner.Retry}, nil
		}
		select {
		case <-a.wake:
			for _, answer := range a.take() {
				switch {
				case answer.Outcome == owner.Queued:
					a.waits = true
					a.tell(answer.Position)
				case answer.Send == 0 || answer.Send == a.lastSend() || mutant.On(mutant.AnySend) || answer.Outcome == owner.Failed && a.over(answer.Err):
					return answer, nil
				case answer.Outcome == owner.Done:
					a.granted = true
				}
			}
		case <-changed:
		case <-again:
			a.waits = true
			if !a.granted {
				return owner.Answer{Outcome: owner.Queued}, nil
			}
		case <-ctx.Done():
			return owner.Answer{}, ctx.Err()
		case <-a.deserted():
			return owner.Answer{}, context.Canceled
		case <-limit:
			return owner.Answer{}, errNoOwner
		case <-a.node.draining:
			return owner.Answer{}, errLeaving
		}
	}
}

// deserted returns a channel that is closed when nobody listens, if the call has to wait.
func (a *acquire) deserted() <-chan struct{} {
	if a.waits {
		return a.listens
	}
	return nil
}

// tell tells the caller where it stands in line.
func (a *acquire) tell(position uint32) {
	if a.queued != nil && position != 0 && position != a.position {
		a.position = position
		a.queued(position)
	}
}

// over: the error says that the request id has ended, so that no later send of it
// can be granted any more: its wait, or itself, is over. Other refusals, of a try
// say, hold for the send that they answer.
func (a *acquire) over(err error) bool {
	return errors.Is(err, sharelock.ErrRequestOver) ||
		a.wait > 0 && (errors.Is(err, sharelock.ErrLockHeld) || errors.Is(err, sharelock.ErrQuarantined))
}

// hold is the caller's answer.
func (a *acquire) hold(answer owner.Answer) sharelock.Hold {
	h := answer.Holds[0]
	a.safe(&h)
	if mutant.On(mutant.SafeFromAnswer) {
		h.SafeFor = a.node.clock() - a.began + h.TTL
	}
	return h
}

// errLeaving sends a caller that waits to another node.
var errLeaving = &sharelock.Error{
	Err: sharelock.ErrNotReady, Message: "this node is leaving the mesh", RetryAfter: time.Second,
}

// giveUpTime is how long a caller that is gone is waited with until its acquire has ended.
const giveUpTime = 3 * time.Second

// giveUp tells the owner that nobody waits any more. A caller that has an id of its
// own, and went away or was told to try again, may come back for its place, so it is
// only detached; in every other case the waiter leaves the queue, and, if the id was
// this node's, a grant that could not be delivered is released.
func (a *acquire) giveUp(ctx context.Context, why error) {
	if a.target.epoch == 0 {
		return // never sent
	}
	if a.req.OwnID && errors.Is(why, errLeaving) {
		// It was told to go to another node. Until it is there nobody may pass it over, and
		// at the latest when this node's links end it settles (Q5).
		a.gone.Store(true)
		return
	}
	r := a.req
	if a.req.OwnID && !errors.Is(why, context.DeadlineExceeded) {
		r.Kind = owner.Detach
		a.gone.Store(true)
		a.send(r)
		return
	}
	r.Kind, r.Drop = owner.Cancel, !a.req.OwnID
	if !a.cancel(ctx, r) && r.Drop {
		r.Metadata = nil
		a.node.abandoned.add(r, r.TTL)
	}
}

// cancel has the owner end the request. It reports whether that was confirmed in time.
func (a *acquire) cancel(ctx context.Context, r owner.Request) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpTime)
	defer cancel()
	limit := time.NewTimer(giveUpTime)
	defer limit.Stop()
	for again := false; ; again = true {
		changed := a.node.views.Changed()
		if a.aim(again) != nil {
			return false // cut off
		}
		a.send(r)
		answer, err := a.await(ctx, limit.C)
		if err != nil {
			return false
		}
		if answer.Outcome == owner.Done || answer.Outcome == owner.Failed && !errors.Is(answer.Err, sharelock.ErrQuota) {
			return true // Q6: a fence that there was no room for is sent again
		}
		if a.pause(ctx, limit.C, changed) != nil {
			return false
		}
	}
}
