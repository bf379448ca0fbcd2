package session

import (
	"context"
	"time"

	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

const (
	// mostTries is the maximum number of acquires in flight that do not wait in a queue. Their refusals are
	// longer than the acquires, and the node stops reading while it cannot send its answers. With more
	// acquires ahead of it, a keepalive could arrive too late over a slow connection.
	mostTries = 512
	// maxCalls is the default of Config.MaxCalls. A node refuses acquires of a session with more than 32,768
	// calls in flight. The difference leaves room for releases, renewals, and acquires that do not wait.
	maxCalls = 24 << 10
)

// place says how a call in flight is counted.
type place uint8

const (
	// others are renewals, releases, and give-ups, which are never held back.
	others place = iota
	// inLine acquires may wait in a queue; trying ones do not.
	inLine
	trying
	// heldBack acquires were not sent yet.
	heldBack
)

// room counts the calls of a stream that are in flight.
type room struct {
	// tries is the number of those that are trying, sent the number of all.
	tries, sent int
	// heldTries and heldWaits are sent when there is room, heldTries first. gone is the number of calls in
	// them that were given up.
	heldTries, heldWaits []heldCall
	gone                 int
}

// heldCall is a call that was not sent yet.
type heldCall struct {
	call sessionwire.Call
	// since is when it was held back.
	since time.Duration
}

// full reports whether an acquire cannot be sent now: there are too many, or an earlier one is held back.
func (r *room) full(try bool, most int) bool {
	if try {
		return r.tries >= mostTries
	}
	return r.sent >= most || len(r.heldWaits) > 0
}

// add sends a call, or holds it back until there is room. mu must be held.
func (st *stream) add(x *exchange, c *sessionwire.Call) (held bool) {
	switch {
	case c.Kind != sessionwire.CallAcquire:
		x.place = others
		st.room.sent++
		st.urgent = sessionwire.AppendCall(st.first(), c)
		return false
	case st.room.full(c.Wait == 0, st.s.MaxCalls):
		x.place = heldBack
		h := heldCall{*c, st.s.Now()}
		if c.Wait == 0 {
			st.room.heldTries = append(st.room.heldTries, h)
		} else {
			st.room.heldWaits = append(st.room.heldWaits, h)
		}
		return true
	default:
		st.send(x, c)
		return false
	}
}

// send sends an acquire. mu must be held.
func (st *stream) send(x *exchange, c *sessionwire.Call) {
	st.room.sent++
	if x.place = inLine; c.Wait == 0 {
		x.place = trying
		st.room.tries++
	}
	st.out = sessionwire.AppendCall(st.buffer(), c)
}

// over removes a call from the count, and sends held calls in its place. mu must be held.
func (st *stream) over(x *exchange) {
	r := &st.room
	switch x.place {
	case heldBack:
		if r.gone++; r.gone > 64 && r.gone > (len(r.heldTries)+len(r.heldWaits))/2 {
			r.gone = 0
			r.heldTries, r.heldWaits = st.remaining(r.heldTries), st.remaining(r.heldWaits)
		}
		return
	case trying:
		r.tries--
	}
	r.sent--
	for len(r.heldTries) > 0 && r.tries < mostTries {
		st.sendHeld(&r.heldTries)
	}
	for len(r.heldWaits) > 0 && r.sent < st.s.MaxCalls {
		st.sendHeld(&r.heldWaits)
	}
}

// remaining returns the calls in held that were not given up. mu must be held.
func (st *stream) remaining(held []heldCall) (list []heldCall) {
	for i := range held {
		if st.calls[held[i].call.ID] != nil {
			list = append(list, held[i])
		}
	}
	return list
}

// sendHeld removes the first call from held and sends it, unless it was given up. mu must be held.
func (st *stream) sendHeld(held *[]heldCall) {
	h := &(*held)[0]
	*held = (*held)[1:]
	if x := st.calls[h.call.ID]; x == nil {
		st.room.gone--
	} else {
		x.heldFor = max(st.s.Now()-h.since, 0)
		if h.call.Wait > 0 {
			h.call.Wait = max(h.call.Wait-x.heldFor, 0)
		}
		st.send(x, &h.call)
		st.nudge()
	}
	*h = heldCall{}
}

// errFull is the error of an acquire that was not sent within its wait.
var errFull = sharelockv1.ToStatus(&sharelock.Error{
	Err: sharelock.ErrQuota, Message: "the client had too many calls in flight during the whole wait",
}).Err()

// wait waits for the answer to a call that is held back. The call's own wait counts from now.
func (st *stream) wait(ctx context.Context, x *exchange, id uint64, most time.Duration) (sharelock.Hold, time.Duration, error) {
	var end <-chan time.Time
	if most > 0 {
		t := time.NewTimer(most)
		defer t.Stop()
		end = t.C
	}
	for {
		select {
		case <-x.done:
			return x.reply()
		case <-ctx.Done():
			return st.abandon(x, id, status.FromContextError(ctx.Err()).Err())
		case <-end:
			end = nil
			st.mu.Lock()
			held := st.calls[id] == x && x.place == heldBack
			if held {
				st.cancel(id, x)
			}
			st.mu.Unlock()
			if held {
				return sharelock.Hold{}, st.s.Now(), unsentError{errFull}
			}
		}
	}
}
