package owner

import (
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/mutant"
)

// renew starts the TTL of a token afresh.
func (t turn) renew(from Ref, r *Request) {
	k, _ := t.m.keys.get(r.Key)
	c := k.byToken(r.Token)
	switch {
	case c != nil:
		ttl := r.TTL
		if ttl == 0 {
			ttl = c.ttl
		}
		if mutant.On(mutant.RenewWithoutLog) {
			c.ttl = t.longer(c, ttl)
			t.m.arm(t.now, c)
		} else {
			t.commit(Op{Kind: OpRenew, Key: r.Key, Token: r.Token, TTL: t.longer(c, ttl)})
		}
		t.done(from, r.Send, t.m.hold(t.now, c))
	case t.m.quarantine != 0:
		// Lost; but "nobody holds it" is more than we know.
		t.fail(from, r.Send, &sharelock.Error{Err: sharelock.ErrStaleToken})
	default:
		t.fail(from, r.Send, lost(k))
	}
}

// longer is the TTL of a renewal: the one that was asked for, but never so short
// that the hold would end before its deadline. The request may be a late
// duplicate, and the holder was told a later end since (Q3).
func (t turn) longer(c *claim, ttl time.Duration) time.Duration {
	return max(ttl, min(unstretch(c.deadline-t.now), c.ttl))
}

// release ends a token, or the oldest hold of a client.
func (t turn) release(from Ref, r *Request) {
	k, _ := t.m.keys.get(r.Key)
	c, named := k.byToken(r.Token), sharelock.Hold{Key: r.Key, Token: r.Token}
	if r.Kind == ReleaseClient {
		c, named = k.byClient(r.ClientID), sharelock.Hold{Key: r.Key, ClientID: r.ClientID}
	}
	if mutant.On(mutant.ReleaseAnyToken) && c == nil && k != nil {
		c = k.holds.first
	}
	switch {
	case c != nil:
		// Q2: only an id of which a second send may still come must be remembered.
		t.done(from, r.Send, t.end(c, Released, c.resent || c.ownID && !r.SentOnce))
	case t.m.quarantine != 0:
		t.done(from, r.Send, named)
	case r.Kind == ReleaseClient:
		t.fail(from, r.Send, &sharelock.Error{Err: sharelock.ErrNotHeld})
	default:
		t.fail(from, r.Send, lost(k))
	}
}

// byClient is the oldest hold of a client, or nil.
func (k *keyState) byClient(client string) *claim {
	if k == nil {
		return nil
	}
	for c := k.holds.first; c != nil; c = k.holds.after(c) {
		if c.client == client {
			return c
		}
	}
	return nil
}

// force ends a token, or with token 0 every hold of the key.
func (t turn) force(from Ref, r *Request) {
	k, _ := t.m.keys.get(r.Key)
	var ended []sharelock.Hold
	if c := k.byToken(r.Token); c != nil {
		ended = append(ended, t.end(c, Forced, true))
	}
	if r.Token == 0 && k != nil {
		for k.held > 0 {
			ended = append(ended, t.end(k.holds.first, Forced, true))
		}
	}
	switch {
	case len(ended) > 0:
		t.done(from, r.Send, ended...)
	case t.m.quarantine != 0:
		t.fail(from, r.Send, t.quarantined())
	default:
		t.fail(from, r.Send, lost(k))
	}
}

// end releases a hold and marks its key. It gives the hold as it was.
func (t turn) end(c *claim, why Why, remember bool) sharelock.Hold {
	k, was := c.key, t.m.hold(t.now, c)
	t.commit(Op{Kind: OpRelease, Key: k.name, Token: c.token, Why: why, Remember: remember})
	t.mark(k)
	return was
}

// expire ends a hold that nobody renewed. Its id is remembered in any case: a
// retry may be under way (Q2).
func (t turn) expire(c *claim) {
	k := c.key
	t.end(c, Expired, true)
	// At once: whoever comes next may itself be at the end of its wait.
	t.serve(k)
}

// cancel gives a request id up.
func (t turn) cancel(from Ref, r *Request) {
	k, _ := t.m.keys.get(r.Key)
	c := k.byRequest(r.RequestID)
	switch {
	case c == nil:
		// The acquire may come after its own cancel.
		if !t.m.finished.has(r.Key, r.RequestID) {
			t.commit(Op{Kind: OpRemember, Key: r.Key, RequestID: r.RequestID})
		}
	case c.held() && r.Drop:
		t.end(c, Cancelled, true)
	case c.held():
		// It stays for a retry, until its TTL is over.
	case c.more.ref != from && c.more.ref.Alive():
		// A retry has taken over; what is given up is the older call.
	default:
		resent := c.resent || c.more.resent || r.Send > 1
		t.leave(c, Cancelled, c.ownID || resent)
	}
	t.done(from, r.Send)
}

// detach takes notice that a waiter's caller has gone.
func (t turn) detach(from Ref, r *Request) {
	k, _ := t.m.keys.get(r.Key)
	if c := k.byRequest(r.RequestID); c != nil && !c.held() && c.more.ref.Caller != nil {
		if c.more.ref == from || !c.more.ref.Alive() {
			c.more.ref = Ref{}
			t.serve(k)
		}
	}
	t.done(from, r.Send)
}
