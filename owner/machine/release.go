package machine

import (
	"maps"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/ops"
)

// renew starts the TTL of a hold afresh and may replace its metadata.
func (t turn) renew(from Ref, r *Request) {
	k := t.m.keys.get(r.Key)
	c := k.hold(r.Token)
	switch {
	case c != nil && !t.m.mayEnd(r, c):
		t.fail(from, r.Send, t.m.denial(r, c))
	case c != nil && r.Metadata != nil && t.m.metaRoom(c, r.Metadata) != nil:
		// Both or neither: without room for the metadata the hold is not renewed.
		t.fail(from, r.Send, t.m.metaRoom(c, r.Metadata))
	case c != nil:
		ttl := r.TTL
		if ttl == 0 {
			ttl = c.ttl()
		}
		t.restart(c, ops.Op{Kind: ops.Renew, Key: r.Key, Token: r.Token, TTL: ttl, Metadata: maps.Clone(r.Metadata)})
		h := t.m.hold(t.now, c)
		h.TTL = min(h.TTL, ttl) // what was asked for, though the hold may end later: see outlasts
		t.done(from, r.Send, h)
	case t.m.quarantine != 0:
		// The token is lost, but whether nobody holds the key is not known.
		t.fail(from, r.Send, &sharelock.Error{Err: sharelock.ErrStaleToken})
	default:
		t.fail(from, r.Send, lost(k))
	}
}

// restart commits a renewal. A hold that outlasts it keeps its end and its TTL.
func (t turn) restart(c *claim, op ops.Op) {
	switch {
	case !t.outlasts(c, op.TTL):
		t.commit(op)
	case op.Metadata == nil && !op.Resent:
		t.commit(ops.Op{Kind: t.m.ReadKind(), Key: op.Key}) // nothing changes: see renewMany
	default:
		due := t.m.dueTime(c)
		op.TTL = c.ttl()
		t.commit(op)
		t.m.due.Set(c.id, due)
		t.m.seeRenewed(t.now, c)
	}
}

// outlasts reports whether a hold ends later than a renewal with this TTL would have it. Such a
// renewal changes neither its end nor its TTL: it may be a late duplicate, and the holder may have
// been told a later end since (Q3). So a shorter TTL takes effect when less than that is left. The
// answer must not name a longer one: the holder would trust the hold beyond its end.
func (t turn) outlasts(c *claim, ttl time.Duration) bool {
	return ttl < c.ttl() && rules.Stretch(ttl) < t.m.dueTime(c)-t.now
}

// release ends a hold.
func (t turn) release(from Ref, r *Request) {
	k := t.m.keys.get(r.Key)
	c := k.hold(r.Token)
	switch {
	case c != nil && !t.m.mayEnd(r, c):
		t.fail(from, r.Send, t.m.denial(r, c))
	case c != nil:
		// Q2: an id must be remembered only if another send of it may still come.
		t.done(from, r.Send, t.end(c, ops.Released, "", c.is(isResent) || c.is(isOwnID) && !r.SentOnce))
	case t.m.quarantine != 0:
		t.done(from, r.Send, sharelock.Hold{Key: r.Key, Token: r.Token})
	default:
		t.fail(from, r.Send, lost(k))
	}
}

// force ends a hold, whoever has it.
func (t turn) force(from Ref, r *Request) {
	k := t.m.keys.get(r.Key)
	switch c := k.hold(r.Token); {
	case c != nil:
		t.done(from, r.Send, t.end(c, ops.Forced, t.m.known(r.ClientID), true))
	case t.m.quarantine != 0:
		t.fail(from, r.Send, t.quarantined())
	default:
		t.fail(from, r.Send, lost(k))
	}
}

// end ends a hold, marks its key, and returns the hold as it was. by is who forced it, or empty.
func (t turn) end(c *claim, why ops.Why, by string, remember bool) sharelock.Hold {
	was := t.m.hold(t.now, c)
	t.over(c, was.Key, why, by, remember)
	return was
}

// over is end for a caller that does not need the hold.
func (t turn) over(c *claim, key string, why ops.Why, by string, remember bool) {
	t.m.touched++
	ck := t.m.keys.of(c).contended
	t.commit(ops.Op{
		Kind: ops.Release, Key: key, Token: c.token, Why: why, By: by, Remember: remember,
		ClaimMode: c.mode(), Lasted: t.now - c.since,
	})
	t.mark(ck)
}

// expire ends a hold that nobody has renewed. Its id is remembered in any case, since a retry may
// be under way (Q2).
func (t turn) expire(c *claim) {
	k := t.m.keys.of(c)
	name, _, _ := t.m.keys.ids(c)
	t.over(c, name, ops.Expired, "", true)
	if k.contended != nil {
		// At once, since the next waiter may be at the end of its own wait.
		t.serve(k.contended)
	}
}

// Expire ends a hold as if its TTL were over, and reports whether there was such a hold.
func (m *Machine) Expire(now time.Duration, name string, token sharelock.Token, out *Out) bool {
	t := m.turn(now, out)
	c := m.keys.get(name).hold(token)
	if c == nil {
		return false
	}
	m.touched++
	t.expire(c)
	t.goOn()
	t.tidy()
	return true
}

// cancel gives up a request id. With Drop set nothing of it is left, whoever asks and by whatever
// call the request came; clients send that as a fence (Q2, Q6).
func (t turn) cancel(from Ref, r *Request) {
	k := t.m.keys.get(r.Key)
	principal := t.m.principalOf(r)
	c := k.findFor(principal, r.RequestID)
	if c == nil && r.AnyHold {
		c = k.findFor("", r.RequestID)
	}
	switch {
	case c == nil:
		// The acquire may arrive after its own cancel.
		if !t.m.isOver(r.Key, principal, r.RequestID) {
			if err := t.m.fenceRoom(r); err != nil {
				t.fail(from, r.Send, err)
				return
			}
			t.commit(ops.Op{Kind: ops.Remember, Key: r.Key, RequestID: r.RequestID, Principal: principal, Conn: t.m.connOf(r)})
		}
	case r.ClientID != "" && !t.m.keys.isOf(c, r.ClientID):
		t.fail(from, r.Send, sharelock.Invalid("request_id", "is in use by another client"))
		return
	case c.held() && r.Drop:
		t.end(c, ops.Cancelled, "", true)
	case c.held():
		// The hold stays, for a retry, until its TTL is over.
	default:
		t.cancelWaiter(from, r, t.m.keys.extra(c))
	}
	t.done(from, r.Send)
}

// cancelWaiter is cancel for a request that waits.
func (t turn) cancelWaiter(from Ref, r *Request, w *claimExtra) {
	t.fresh(w)
	elsewhere := w.ref != from && w.ref.Alive()
	if elsewhere && !r.Drop {
		// A retry by another call has taken over; only the older call is given up.
		return
	}
	if elsewhere {
		t.fail(w.ref, w.send, &sharelock.Error{Err: sharelock.ErrRequestOver, Message: "the request was given up"})
	}
	resent := w.claim.is(isResent) || w.resent || r.Send > 1 || elsewhere
	t.leave(w, ops.Cancelled, w.claim.is(isOwnID) || resent)
}

// detach takes notice that a waiter's caller has gone.
func (t turn) detach(from Ref, r *Request) {
	if c := t.m.keys.get(r.Key).findFor(t.m.principalOf(r), r.RequestID); c != nil && !c.held() {
		w := t.m.keys.extra(c)
		t.fresh(w)
		if w.ref.Caller != nil && (w.ref == from || !w.ref.Alive()) {
			t.m.note(w, func(w *waiterState) { w.ref = Ref{} })
			t.serve(w.contended)
		}
	}
	t.done(from, r.Send)
}
