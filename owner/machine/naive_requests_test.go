package machine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
)

// asked is one request and what the model finds for it.
type asked struct {
	*naive
	from Ref
	r    *Request
	k    *naiveKey
	// c is the claim of the request id, byToken the hold of the token.
	c, byToken *naiveClaim
	held       bool
	// lost is the answer to a token that is no grant.
	lost error
}

func (n *naive) step(from Ref, r *Request) {
	n.tick()
	a := asked{naive: n, from: from, r: r, k: n.keys[r.Key], lost: sharelock.ErrStaleToken}
	if a.k == nil {
		a.k = &naiveKey{slots: r.Slots}
	}
	a.c, a.held = a.k.find(r.Principal, r.RequestID)
	if a.c == nil && r.AnyHold && r.Kind == Cancel {
		a.c, a.held = a.k.find("", r.RequestID)
	}
	for _, h := range a.k.holds {
		if h.token == r.Token {
			a.byToken = h
		}
	}
	if len(a.k.holds) == 0 {
		a.lost = sharelock.ErrNotHeld
	}
	switch r.Kind {
	case Acquire:
		n.acquire(from, r, a.k, a.c, a.held)
	case Renew:
		a.renew()
	case RenewMany:
		a.renewMany()
	case Release:
		a.release()
	case Force:
		a.force()
	case Get, Check:
		a.read()
	case Cancel, Detach:
		a.giveUp()
	}
	n.finish()
}

func (a *asked) fail(err error) { a.say(a.from, a.r.Send, Failed, err.Error()) }

func (a *asked) done(holds ...*naiveClaim) {
	text := ""
	for _, h := range holds {
		text += "hold " + h.label() + " "
	}
	a.say(a.from, a.r.Send, Done, strings.TrimSpace(text))
}

// renew never brings the end nearer: a shorter TTL takes effect when less than that is left.
func (h *naiveClaim) renew(now, ttl time.Duration) {
	if ttl < h.ttl && rules.Stretch(ttl) < h.ends-now {
		return
	}
	h.ttl = ttl
	h.restart(now)
}

func (a *asked) renew() {
	switch h := a.byToken; {
	case a.denied():
		a.fail(sharelock.ErrPermissionDenied)
	case h != nil:
		ttl := h.ttl
		if a.r.TTL > 0 {
			ttl = a.r.TTL
		}
		h.renew(a.now, ttl)
		if a.r.Metadata != nil {
			h.meta = a.r.Metadata
		}
		a.done(h)
	case a.quarantine > 0:
		a.fail(sharelock.ErrStaleToken)
	default:
		a.fail(a.lost)
	}
}

// denied: the token is a hold of another principal.
func (a *asked) denied() bool {
	return a.byToken != nil && !a.r.AnyHold && !a.byToken.belongs(a.r.Principal)
}

func (a *asked) renewMany() {
	var lost, denied []int
	for i, r := range a.r.Renewals {
		found := false
		if k := a.keys[r.Key]; k != nil {
			for _, h := range k.holds {
				switch {
				case h.token != r.Token:
					continue
				case h.belongs(r.Principal):
					h.renew(a.now, r.TTL)
				default:
					denied = append(denied, i)
				}
				found = true
			}
		}
		if !found {
			lost = append(lost, i)
		}
	}
	text := ""
	if len(lost) > 0 {
		text = fmt.Sprint("lost ", lost)
	}
	if len(denied) > 0 {
		text += fmt.Sprint("denied ", denied)
	}
	a.say(a.from, a.r.Send, Done, text)
}

func (a *asked) release() {
	h := a.byToken
	switch {
	case a.denied():
		a.fail(sharelock.ErrPermissionDenied)
	case h != nil:
		a.done(h)
		a.endHold(a.r.Key, h, h.resent || h.own && !a.r.SentOnce)
	case a.quarantine > 0:
		a.say(a.from, a.r.Send, Done, "hold")
	default:
		a.fail(a.lost)
	}
}

func (a *asked) force() {
	switch h := a.byToken; {
	case a.r.Token == 0:
		a.fail(sharelock.ErrInvalidArgument)
	case h != nil:
		a.endHold(a.r.Key, h, true)
		a.done(h)
	case a.quarantine > 0:
		a.fail(sharelock.ErrQuarantined)
	default:
		a.fail(a.lost)
	}
}

func (a *asked) read() {
	switch {
	case a.r.Kind == Check && a.byToken != nil:
		a.replies = append(a.replies, "current")
		a.done(a.k.holds[:min(len(a.k.holds), sharelock.MaxHolders)]...)
	case a.quarantine > 0:
		a.fail(sharelock.ErrQuarantined)
	case a.r.Kind == Get && a.keys[a.r.Key] == nil:
		a.fail(sharelock.ErrNotHeld)
	case a.r.Kind == Check:
		a.done(a.k.holds[:min(len(a.k.holds), sharelock.MaxHolders)]...)
	default:
		a.done(slices.DeleteFunc(slices.Clone(a.k.holds), func(h *naiveClaim) bool {
			return h.token <= a.r.Token || a.r.ClientID != "" && (h.client != a.r.ClientID || !a.r.AnyHold && !h.belongs(a.r.Principal))
		})...)
	}
}

func (a *asked) giveUp() {
	c, r := a.c, a.r
	mine := c != nil && (c.ref == a.from || !c.ref.Alive())
	switch {
	case r.Kind == Detach:
		if c != nil && !a.held && c.ref.Caller != nil && mine {
			c.ref = Ref{}
			a.dirty[r.Key] = true
		}
	case c == nil:
		if !a.isOver(r.Key, r.Principal, r.RequestID) {
			a.rememberFor(33*time.Second, r.Key, r.Principal, r.RequestID)
		}
	case r.ClientID != "" && c.client != r.ClientID:
		a.fail(sharelock.ErrInvalidArgument)
		return
	case a.held && r.Drop:
		a.endHold(r.Key, c, true)
	case !a.held && !mine && r.Drop:
		a.say(c.ref, c.send, Failed, sharelock.ErrRequestOver.Error())
		a.endWaiter(r.Key, c, true)
	case !a.held && mine:
		a.endWaiter(r.Key, c, c.own || c.resent || c.sentAgain || r.Send > 1)
	}
	a.done()
}

func (n *naive) acquire(from Ref, r *Request, k *naiveKey, c *naiveClaim, held bool) {
	fail := func(err error) { n.say(from, r.Send, Failed, err.Error()) }
	switch {
	case c != nil && c.client != r.ClientID:
		fail(sharelock.ErrInvalidArgument)
		return
	case held:
		c.resent = true
		c.renew(n.now, r.TTL)
		n.say(from, r.Send, Done, "hold "+c.label())
		return
	case c != nil:
		n.reattach(from, r, k, c)
		return
	case n.isOver(r.Key, r.Principal, r.RequestID):
		fail(sharelock.ErrRequestOver)
		return
	case n.keys[r.Key] != nil && k.slots != r.Slots:
		fail(sharelock.ErrModeConflict)
		return
	}
	ahead := 0
	for _, w := range k.waiters {
		if w.settles > 0 || w.ref.Alive() {
			ahead++
		}
	}
	c = &naiveClaim{
		id: r.RequestID, client: r.ClientID, principal: r.Principal, shared: r.Mode == sharelock.Shared, own: r.OwnID, resent: r.Send > 1,
		ttl: r.TTL, newTTL: r.TTL, ref: from, send: r.Send, limit: n.now + r.Wait, seen: n.now, since: n.now,
		maxHold: r.MaxHold, meta: r.Metadata,
	}
	free := n.quarantine == 0 && ahead == 0 && k.fits(c.shared)
	switch {
	case !free && r.Wait <= 0:
		n.say(from, r.Send, Failed, n.refuse(r.Key))
	case n.full && n.keys[r.Key] == nil:
		fail(sharelock.ErrQuota)
	case free:
		c.grant(n.now)
		k.holds = append(k.holds, c)
		n.keys[r.Key] = k
		n.say(from, r.Send, Done, "hold "+c.label())
	case len(k.waiters) >= n.max:
		fail(sharelock.ErrTooManyWaiters)
	default:
		k.waiters = append(k.waiters, c)
		n.keys[r.Key] = k
		n.say(from, r.Send, Queued, place(r, k, c))
	}
}

// place is the position of a waiter, if that was asked.
func place(r *Request, k *naiveKey, c *naiveClaim) string {
	if !r.Tell {
		return ""
	}
	return fmt.Sprintf("position %d", slices.Index(k.waiters, c)+1)
}

func (n *naive) reattach(from Ref, r *Request, k *naiveKey, c *naiveClaim) {
	same := c.ref == from
	if !same && c.ref.Alive() {
		n.say(c.ref, c.send, Failed, sharelock.ErrRequestOver.Error())
	}
	if !same || r.Send >= c.send {
		c.send, c.newTTL, c.limit = r.Send, r.TTL, n.now+r.Wait
	}
	c.ref, c.seen, c.settles, c.sentAgain = from, n.now, 0, true
	n.serve(r.Key)
	switch {
	case slices.Contains(k.holds, c):
	case c.limit <= n.now:
		n.endWaiter(r.Key, c, true)
		n.say(from, c.send, Failed, n.refuse(r.Key))
	default:
		n.say(from, c.send, Queued, place(r, k, c))
	}
}

// broke: the way to a caller broke.
func (n *naive) broke(caller Caller) {
	for _, k := range n.keys {
		for _, c := range k.waiters {
			if c.ref.Caller == caller {
				c.ref, c.settles = Ref{}, n.now+c.period()
			}
		}
	}
}

// takeover is what a new owner knows.
func (n *naive) takeover() {
	n.over = slices.DeleteFunc(n.over, func(o naiveOver) bool { return o.until <= n.now })
	if n.quarantine <= n.now {
		n.quarantine = 0
	}
	for _, k := range n.keys {
		for _, c := range k.holds {
			c.restart(n.now)
		}
		for _, c := range k.waiters {
			c.ref, c.sentAgain, c.send = Ref{}, false, 0
			c.newTTL, c.seen, c.since = c.ttl, n.now, n.now
			c.settles = n.now + c.period()
		}
	}
}
