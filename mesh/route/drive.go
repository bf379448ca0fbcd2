package route

import (
	"context"
	"errors"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
)

// patience is how long a request goes on looking for an owner beyond the wait of its caller.
const patience = 10 * time.Second

var errNoOwner = &sharelock.Error{
	Err: sharelock.ErrNotReady, Message: "the key's owner did not answer", RetryAfter: time.Second,
}

// errLeaving sends a caller that waits to another node.
var errLeaving = &sharelock.Error{
	Err: sharelock.ErrNotReady, Message: "this node is leaving the mesh", RetryAfter: time.Second,
}

// do drives the request to its end, and returns its caller's answer.
func (q *request) do(ctx context.Context) (sharelock.Hold, error) {
	return q.result(q.await(ctx))
}

// await drives the request until the owner has answered, the context or its patience ends, or an
// acquire is given up. An acquire that was not answered is ended at the owner.
func (q *request) await(ctx context.Context) (owner.Answer, error) {
	defer q.drop()
	defer q.gone.Store(true)
	a, err := q.run(ctx)
	if err != nil && q.req.Kind == owner.Acquire && !isAnswer(err) {
		q.giveUp(ctx, err)
	}
	if q.session == nil { // otherwise finish does
		q.span.End(err)
	}
	return a, err
}

// isAnswer reports whether an error is the owner's word, so that there is nothing left to give up.
func isAnswer(err error) bool {
	return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) &&
		!errors.Is(err, sharelock.ErrNotReady) && !errors.Is(err, sharelock.ErrNoQuorum)
}

// view returns the view to act in, or why this node may not act: a node that is cut off says so, it
// never guesses (Q4).
func (rt *Router) view() (*epoch.View, error) {
	if err := rt.cfg.Ready(); err != nil {
		return nil, err
	}
	return rt.cfg.Views.Now(), nil
}

// run sends the request, and sends it again whenever it has to (Q1).
func (q *request) run(ctx context.Context) (owner.Answer, error) {
	limit := time.NewTimer(q.wait + patience)
	defer limit.Stop()
	var again *time.Timer
	until := ends{limit: limit.C}
	if q.req.Kind == owner.Acquire {
		again = time.NewTimer(rules.Period(q.req.TTL))
		defer again.Stop()
		until.again, until.leaving = again.C, q.router.cfg.Leaving
	}
	fresh := false
	for {
		changed := q.router.cfg.Views.Changed()
		if !q.underway {
			// A request that was cancelled is not sent once more, after a view change say: its
			// client's fence may have been there (Q2).
			if err := ctx.Err(); err != nil {
				return owner.Answer{}, err
			}
			v, err := q.router.view()
			if err == nil {
				err = q.aim(v, fresh)
			}
			if err != nil {
				return owner.Answer{}, err
			}
			q.sendRequest()
		}
		q.underway = false
		if again != nil {
			again.Reset(rules.Period(q.req.TTL))
		}
		a, err := q.listen(ctx, until)
		if err != nil {
			return owner.Answer{}, err
		}
		switch a.Outcome {
		case owner.Done, owner.Failed:
			return q.whole(a)
		case owner.Queued: // time to send again, to the same owner
			fresh = false
			continue
		}
		fresh, q.granted, q.waits = true, false, true
		select {
		case <-q.deserted():
			return owner.Answer{}, context.Canceled
		default:
		}
		if err := q.pauses.wait(ctx, limit.C, changed); err != nil {
			return owner.Answer{}, err
		}
	}
}

// sendRequest sends the request as it is due now.
func (q *request) sendRequest() {
	r, now := q.req, q.router.cfg.Clock()
	if q.wait > 0 {
		// Never 0, however late it is: the owner does not remember the id of a try that it refuses,
		// and an earlier send by another node could be granted later (Q2).
		r.Wait = max(q.wait-(now-q.began), 1)
	}
	q.send(now, &r, true)
}

// ends are what ends listening besides an answer; a nil channel never does.
type ends struct {
	// limit: it is over; again: an acquire is to be sent again; leaving: this node sends its callers
	// away.
	limit, again <-chan time.Time
	leaving      <-chan struct{}
}

// listen waits for the answer to the newest send: Done, Failed or Retry. It also ends, with Retry,
// when the request has to be sent again, since the old owner may never answer; and with Queued when
// it is time to send an acquire again (Q5).
//
// A grant counts only when it answers the newest send. Otherwise a send is still on its way, and
// could reach the owner after the lock was released: then the id would be granted twice, because the
// owner remembers only the ids that it saw more than once (Q2).
func (q *request) listen(ctx context.Context, until ends) (owner.Answer, error) {
	for {
		changed := q.router.cfg.Views.Changed()
		if q.moved() {
			return owner.Answer{Outcome: owner.Retry}, nil
		}
		select {
		case <-q.wake:
			for _, a := range q.take() {
				if q.heard(a) {
					return a, nil
				}
			}
		case <-changed:
		case <-until.again:
			q.waits = true
			if !q.granted {
				return owner.Answer{Outcome: owner.Queued}, nil
			}
		case <-ctx.Done():
			return owner.Answer{}, ctx.Err()
		case <-q.deserted():
			return owner.Answer{}, context.Canceled
		case <-until.limit:
			return owner.Answer{}, errNoOwner
		case <-until.leaving:
			return owner.Answer{}, errLeaving
		}
	}
}

// heard takes an answer that has come. It reports whether that is the answer to the newest send.
func (q *request) heard(a owner.Answer) bool {
	switch {
	case a.Outcome == owner.Queued:
		q.waits = true
		q.tell(a.Position)
	case a.Send == 0 || a.Send == q.lastSend() || a.Outcome == owner.Failed && q.over(a.Err):
		return true
	case a.Outcome == owner.Done:
		q.granted = true
	}
	return false
}

// moved reports whether there is a newer view than the one the request was sent in, so that the
// member that has it has dropped it (A1); or this node may not act any more (Q4).
func (q *request) moved() bool {
	return q.router.cfg.Views.Epoch() != q.target.epoch || q.router.cfg.Ready() != nil
}

// deserted returns a channel that is closed when nobody listens, if the request has to wait.
func (q *request) deserted() <-chan struct{} {
	if q.waits && !q.ending {
		return q.listens
	}
	return nil
}

// tell tells the caller where it stands in line.
func (q *request) tell(position uint32) {
	if q.queued != nil && position != 0 && position != q.position && !q.ending {
		q.position = position
		q.queued(position)
	}
}

// over reports whether the error says that the id of an acquire has ended, so that no later send of
// it can be granted any more: its wait, or itself, is over. Other refusals, of a try say, hold for
// the send that they answer.
func (q *request) over(err error) bool {
	if q.req.Kind != owner.Acquire || q.ending {
		return false
	}
	return errors.Is(err, sharelock.ErrRequestOver) ||
		q.wait > 0 && (errors.Is(err, sharelock.ErrLockHeld) || errors.Is(err, sharelock.ErrQuarantined))
}

// pauses are the rests of a request before it is sent again, unless a new view comes first (Q1).
type pauses struct{ last time.Duration }

// wait rests. A channel of changes that was taken before the last send ends it at once when there is
// a newer view.
func (p *pauses) wait(ctx context.Context, limit <-chan time.Time, changed <-chan struct{}) error {
	if p.last = 2 * p.last; p.last == 0 {
		p.last = rules.RetryFirst
	}
	p.last = min(p.last, rules.RetryMost)
	t := time.NewTimer(p.last)
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
