package route

import (
	"errors"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
)

// whole returns an answer and its error. It checks that the answer has what its kind of request
// promises, since it may come from another process.
func (q *request) whole(a owner.Answer) (owner.Answer, error) {
	if a.Outcome == owner.Failed {
		return a, a.Err
	}
	ok := true
	switch q.req.Kind {
	case owner.Get, owner.Check:
		ok = a.Lock != nil
	case owner.Acquire, owner.Renew, owner.Release, owner.Force:
		ok = len(a.Holds) > 0
	}
	if !ok {
		return a, &sharelock.Error{Err: sharelock.ErrInternal, Message: "the key's owner sent an answer without its content"}
	}
	return a, nil
}

// result returns the caller's answer of a request that is answered with one hold. A release that had
// to be sent again may find its own work done: that is success (Q2).
func (q *request) result(a owner.Answer, err error) (sharelock.Hold, error) {
	r := &q.req
	if err != nil {
		again := q.lastSend() > 1 && (r.Kind == owner.Release || r.Kind == owner.Force)
		if again && gone(err) {
			return sharelock.Hold{Key: r.Key, Token: r.Token}, nil
		}
		return sharelock.Hold{}, err
	}
	if r.Kind == owner.Cancel {
		return sharelock.Hold{}, nil
	}
	h := a.Holds[0]
	if r.Kind == owner.Acquire || r.Kind == owner.Renew {
		q.safe(&h)
	}
	return h, nil
}

// safe completes the hold that answers the last send for the caller, who counts from when its
// request came: what had passed here when that send left, and then the TTL, or what is left
// of the hold's longest time (Q3).
func (q *request) safe(h *sharelock.Hold) {
	h.SafeFor = h.TTL
	after := q.sentAfter(q.lastSend())
	if h.EndsIn > 0 {
		h.SafeFor = min(h.SafeFor, h.EndsIn)
		h.EndsIn += after
	}
	h.SafeFor += after
}

// gone reports whether an error says that the token is no grant (any more).
func gone(err error) bool {
	return errors.Is(err, sharelock.ErrNotHeld) || errors.Is(err, sharelock.ErrStaleToken)
}
