package route

import (
	"context"
	"errors"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
)

// GiveUpTime is how long a caller that is gone is waited with until its acquire has ended.
const GiveUpTime = 3 * time.Second

// giveUp tells the owner that nobody waits any more. A caller that has an id of its own, and went
// away or was told to try again, may come back for its place, so it is only detached; in every other
// case the waiter leaves the queue, and, if the id was this node's, a grant that could not be
// delivered is released.
func (q *request) giveUp(ctx context.Context, why error) {
	if q.target.epoch == 0 {
		return // never sent
	}
	q.ending = true
	if q.req.OwnID && errors.Is(why, errLeaving) {
		// It was told to go to another node. Until it is there nobody may pass it over, and at the
		// latest when this node's links end it settles (Q5).
		q.gone.Store(true)
		return
	}
	r := q.req
	if q.req.OwnID && !errors.Is(why, context.DeadlineExceeded) {
		r.Kind = owner.Detach
		q.gone.Store(true)
		q.send(q.router.cfg.Clock(), &r, true)
		return
	}
	r.Kind, r.Drop = owner.Cancel, !q.req.OwnID
	if !q.end(ctx, r) && r.Drop {
		r.Metadata = nil
		q.router.abandoned.add(r, r.TTL)
	}
}

// end has the owner end the request. It reports whether that was confirmed in time.
func (q *request) end(ctx context.Context, r owner.Request) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), GiveUpTime)
	defer cancel()
	limit := time.NewTimer(GiveUpTime)
	defer limit.Stop()
	for again := false; ; again = true {
		changed := q.router.cfg.Views.Changed()
		v, err := q.router.view()
		if err != nil || q.aim(v, again) != nil {
			return false // cut off
		}
		next := r
		q.send(q.router.cfg.Clock(), &next, true)
		answer, err := q.listen(ctx, ends{limit: limit.C})
		if err != nil {
			return false
		}
		if answer.Outcome == owner.Done || answer.Outcome == owner.Failed && !errors.Is(answer.Err, sharelock.ErrQuota) {
			return true // Q6: a fence that there was no room for is sent again
		}
		if q.pauses.wait(ctx, limit.C, changed) != nil {
			return false
		}
	}
}
