package session

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// exchange is one call in flight. Its reply comes once.
type exchange struct {
	// place says how room counts it.
	place place
	// heldFor is how long it was held back before it was sent.
	heldFor time.Duration
	done    chan struct{} // receives one value when hold, err and at are set
	hold    sharelock.Hold
	err     error
	// at is when the reply came.
	at time.Duration
	// bound: the call ends with the client.
	bound bool
	// queued is told the position in the queue; nil is nobody.
	queued func(position int)
}

// Do makes one call and waits for its answer, which came at the time that is returned. Errors are gRPC
// statuses, as the unary call's. bound: the end of the client ends it besides ctx.
func (s *Session) Do(ctx context.Context, bound bool, c *sessionwire.Call) (h sharelock.Hold, at time.Duration, err error) {
	return s.DoQueued(ctx, bound, c, nil)
}

// DoQueued is Do of a call whose queued is told the position in the queue; nil is nobody. It must not block.
func (s *Session) DoQueued(ctx context.Context, bound bool, c *sessionwire.Call, queued func(position int)) (h sharelock.Hold, at time.Duration, err error) {
	if !s.isUnary() {
		st, err := s.open()
		if err != nil {
			return sharelock.Hold{}, s.Now(), unsentError{err}
		}
		h, at, err = st.do(ctx, bound, c, queued)
		if err == nil || !s.isUnary() || status.Code(err) != codes.Unimplemented {
			return h, at, err
		}
	}
	h, err = s.Unary(ctx, bound, c)
	return h, s.Now(), err
}

// unsentError is the error of a call of which nothing has left the client.
type unsentError struct{ error }

// Unwrap returns the reason.
func (u unsentError) Unwrap() error { return u.error }

// Unsent reports whether err says that nothing of a call has left the client.
func Unsent(err error) bool {
	_, ok := errors.AsType[unsentError](err)
	return ok
}

// errClosed is why a call fails that ends with the client.
var errClosed = status.Error(codes.Canceled, "client is closed")

func (st *stream) do(ctx context.Context, bound bool, c *sessionwire.Call, queued func(position int)) (sharelock.Hold, time.Duration, error) {
	x, ok := st.s.exchanges.Get().(*exchange)
	if !ok {
		x = &exchange{done: make(chan struct{}, 1)}
	}
	x.bound, x.queued = bound, queued
	st.mu.Lock()
	err := st.err
	if bound && st.s.ending.Load() || st.s.ended.Load() {
		err = errClosed // abort may have gone through the calls already
	}
	if err != nil {
		st.mu.Unlock()
		return sharelock.Hold{}, st.s.Now(), unsentError{err}
	}
	st.last++
	c.ID = st.last
	if !st.waits() {
		st.heard = st.s.Now()
	}
	st.calls[c.ID] = x
	if st.add(x, c) {
		st.mu.Unlock()
		return st.wait(ctx, x, c.ID, c.Wait)
	}
	st.mu.Unlock()
	st.nudge()
	select {
	case <-x.done:
		h, at, err := x.reply()
		st.s.exchanges.Put(x)
		return h, at, err
	case <-ctx.Done():
	}
	return st.abandon(x, c.ID, status.FromContextError(ctx.Err()).Err())
}

// abandon ends a call with err, unless it is being answered. The exchange is not used again, since read may
// still be writing to it.
func (st *stream) abandon(x *exchange, id uint64, err error) (sharelock.Hold, time.Duration, error) {
	given, sent := st.giveUp(id)
	if !given {
		<-x.done
		return x.reply()
	}
	if !sent {
		return sharelock.Hold{}, st.s.Now(), unsentError{err}
	}
	st.nudge()
	return sharelock.Hold{}, st.s.Now(), err
}

// reply returns the reply of an exchange and resets the exchange for its next use. The caller measures the
// times of a grant from when it made the call, so the time before the send is added (Q3).
func (x *exchange) reply() (h sharelock.Hold, at time.Duration, err error) {
	h, at, err = x.hold, x.at, x.err
	if h.SafeFor += x.heldFor; h.EndsIn > 0 {
		h.EndsIn += x.heldFor
	}
	*x = exchange{done: x.done}
	return h, at, err
}

// giveUp ends a call without its answer, and cancels it at the node if it was sent. given is false if the
// answer has come, or is being read.
func (st *stream) giveUp(id uint64) (given, sent bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	x := st.calls[id]
	if x == nil {
		return false, false
	}
	return true, st.cancel(id, x)
}

// cancel removes a call from those in flight, and cancels it at the node. It returns false if the call was
// not sent yet. mu must be held.
func (st *stream) cancel(id uint64, x *exchange) (sent bool) {
	delete(st.calls, id)
	if sent = x.place != heldBack; sent {
		// In out, behind the call: a node ignores the cancel of a call that it has not received.
		st.out = sessionwire.AppendCall(st.buffer(), &sessionwire.Call{ID: id, Kind: sessionwire.CallCancel})
	}
	st.over(x)
	return sent
}

// abort fails the calls that end with the client, or all, and cancels them at the node.
func (st *stream) abort(all bool) {
	st.mu.Lock()
	now := st.s.Now()
	for id, x := range st.calls {
		if !x.bound && !all {
			continue
		}
		x.err, x.at = errClosed, now
		if !st.cancel(id, x) {
			x.err = unsentError{errClosed}
		}
		x.done <- struct{}{} // does not block: the channel has a buffer of one
	}
	st.mu.Unlock()
	st.nudge()
}
