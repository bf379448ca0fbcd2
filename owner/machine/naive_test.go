package machine

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
)

// naive is the machine once more, written to be read: slices, linear scans,
// nothing kept that could be worked out. It predicts every answer except the
// numbers of tokens; a grant is known by its request id instead.
type naive struct {
	now        time.Duration
	keys       map[string]*naiveKey
	over       []naiveOver
	quarantine time.Duration
	max        int
	full       bool

	replies []string
	dirty   map[string]bool
}

type naiveKey struct {
	slots   uint32
	holds   []*naiveClaim
	waiters []*naiveClaim
}

type naiveOver struct {
	key, principal, id string
	until              time.Duration
}

type naiveClaim struct {
	id, client          string
	principal           string
	shared, own, resent bool
	ttl                 time.Duration
	maxHold             time.Duration
	last                time.Duration // of a hold with maxHold: its end, renewed or not
	meta                map[string]string
	ends                time.Duration // of a hold
	ref                 Ref
	newTTL              time.Duration
	limit, seen, since  time.Duration
	settles             time.Duration
	send                uint32
	sentAgain           bool
	token               sharelock.Token // as the machine chose it
}

func newNaive(max int) *naive {
	return &naive{keys: map[string]*naiveKey{}, dirty: map[string]bool{}, max: max}
}

func (c *naiveClaim) period() time.Duration { return min(c.newTTL/3, 2*time.Second) }

// when is the next moment at which something happens to a waiter.
func (c *naiveClaim) when() time.Duration {
	at := c.seen + 3*c.period()
	if c.ref.Caller != nil && c.limit < at {
		at = c.limit
	}
	if c.settles > 0 && c.settles < at {
		at = c.settles
	}
	return at
}

func (n *naive) say(ref Ref, send uint32, outcome Outcome, text string) {
	n.replies = append(n.replies, fmt.Sprintf("%s send=%d outcome=%d %s", ref.Caller.(*listener).name, send, outcome, text))
}

// isOver: an id is over for its principal, and one from before there were principals for
// everybody.
func (n *naive) isOver(key, principal, id string) bool {
	return slices.ContainsFunc(n.over, func(o naiveOver) bool {
		return o.key == key && o.id == id && (o.principal == principal || o.principal == "")
	})
}

func (n *naive) remember(key string, c *naiveClaim) {
	n.rememberFor(90*time.Second, key, c.principal, c.id)
}

// rememberFor: it may be over already, at the end of a claim that was found without a principal.
func (n *naive) rememberFor(d time.Duration, key, principal, id string) {
	n.over = slices.DeleteFunc(n.over, func(o naiveOver) bool { return o.key == key && o.id == id && o.principal == principal })
	n.over = append(n.over, naiveOver{key, principal, id, n.now + d})
}

// label names a claim: two principals may use the same request id.
func (c *naiveClaim) label() string { return label(c.principal, c.id) }

func label(principal, id string) string {
	if principal == "" {
		return id
	}
	return principal + "'s-" + id
}

// belongs: a claim is its principal's, or everybody's; without a principal one may have all.
func (c *naiveClaim) belongs(principal string) bool {
	return c.principal == principal || c.principal == "" || principal == ""
}

func (k *naiveKey) fits(shared bool) bool {
	if k.slots > 1 {
		return len(k.holds) < int(k.slots)
	}
	for _, h := range k.holds {
		if !h.shared || !shared {
			return false
		}
	}
	return true
}

// find finds the claim that an id of a principal means: its own before another that it may have.
func (k *naiveKey) find(principal, id string) (c *naiveClaim, held bool) {
	all := k.of(principal, id)
	for _, c := range all {
		if c.principal == principal {
			return c, slices.Contains(k.holds, c)
		}
	}
	if len(all) == 0 {
		return nil, false
	}
	return all[0], slices.Contains(k.holds, all[0])
}

// of lists the claims of an id that a principal may have.
func (k *naiveKey) of(principal, id string) (all []*naiveClaim) {
	for _, c := range slices.Concat(k.holds, k.waiters) {
		if c.id == id && c.belongs(principal) {
			all = append(all, c)
		}
	}
	return all
}

func without(list []*naiveClaim, c *naiveClaim) []*naiveClaim {
	return slices.DeleteFunc(slices.Clone(list), func(x *naiveClaim) bool { return x == c })
}

func (n *naive) tidy(key string) {
	if k := n.keys[key]; k != nil && len(k.holds)+len(k.waiters) == 0 {
		delete(n.keys, key)
	}
}

func (n *naive) serve(key string) {
	k := n.keys[key]
	if k == nil || n.quarantine > 0 {
		return
	}
	for _, c := range slices.Clone(k.waiters) {
		if c.settles > 0 {
			return
		}
		if !c.ref.Alive() {
			continue
		}
		if !k.fits(c.shared) {
			return
		}
		k.waiters = without(k.waiters, c)
		k.holds = append(k.holds, c)
		c.resent = c.resent || c.sentAgain || n.now-c.since >= c.period()/2
		c.ttl = c.newTTL
		c.grant(n.now)
		n.say(c.ref, c.send, Done, "hold "+c.label())
	}
}

// grant begins a hold.
func (c *naiveClaim) grant(now time.Duration) {
	if c.maxHold > 0 {
		c.last = now + rules.Stretch(c.maxHold)
	}
	c.restart(now)
}

// restart begins its TTL.
func (c *naiveClaim) restart(now time.Duration) {
	c.ends = now + rules.Stretch(c.ttl)
	if c.maxHold > 0 && c.last < c.ends {
		c.ends = c.last
	}
}

func (n *naive) refuse(key string) string {
	if n.quarantine > 0 {
		return sharelock.ErrQuarantined.Error()
	}
	text := sharelock.ErrLockHeld.Error()
	k := n.keys[key]
	if k == nil {
		k = &naiveKey{}
	}
	for _, h := range k.holds[:min(len(k.holds), sharelock.MaxHolders)] {
		text += " " + h.label()
	}
	return text + fmt.Sprintf(" queue=%d", len(k.waiters))
}

func (n *naive) endHold(key string, c *naiveClaim, remember bool) {
	n.keys[key].holds = without(n.keys[key].holds, c)
	n.tidy(key)
	if remember {
		n.remember(key, c)
	}
	n.dirty[key] = true
}

func (n *naive) endWaiter(key string, c *naiveClaim, remember bool) {
	n.keys[key].waiters = without(n.keys[key].waiters, c)
	n.tidy(key)
	if remember {
		n.remember(key, c)
	}
	n.dirty[key] = true
}

func (n *naive) finish() {
	for _, key := range n.sortedKeys() {
		if n.dirty[key] {
			n.serve(key)
		}
	}
	n.dirty = map[string]bool{}
}

func (n *naive) sortedKeys() []string {
	var keys []string
	for key := range n.keys {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// first finds what is due first of all.
func (n *naive) first() (key string, c *naiveClaim, held bool, at time.Duration) {
	for _, k := range n.sortedKeys() {
		for _, h := range n.keys[k].holds {
			if c == nil || h.ends < at {
				key, c, held, at = k, h, true, h.ends
			}
		}
		for _, w := range n.keys[k].waiters {
			if c == nil || w.when() < at {
				key, c, held, at = k, w, false, w.when()
			}
		}
	}
	return key, c, held, at
}

// next is when something will happen by itself.
func (n *naive) next() (time.Duration, bool) {
	var all []time.Duration
	if _, c, _, at := n.first(); c != nil {
		all = append(all, at)
	}
	if n.quarantine > 0 {
		all = append(all, n.quarantine)
	}
	for _, o := range n.over {
		all = append(all, o.until)
	}
	if len(all) == 0 {
		return 0, false
	}
	return slices.Min(all), true
}

func (n *naive) tick() {
	n.over = slices.DeleteFunc(n.over, func(o naiveOver) bool { return o.until <= n.now })
	if n.quarantine > 0 && n.quarantine <= n.now {
		n.quarantine = 0
		for _, key := range n.sortedKeys() {
			n.serve(key)
		}
	}
	for {
		key, c, held, at := n.first()
		if c == nil || at > n.now {
			break
		}
		switch {
		case held:
			n.endHold(key, c, true)
			n.serve(key)
		case c.settles > 0 && c.settles <= n.now:
			c.settles = 0
			n.dirty[key] = true
		case c.ref.Caller != nil && c.limit <= n.now && c.ref.Alive():
			n.serve(key)
			if slices.Contains(n.keys[key].waiters, c) {
				n.endWaiter(key, c, true)
				n.say(c.ref, c.send, Failed, n.refuse(key))
			}
		case c.ref.Caller != nil && c.limit <= n.now:
			c.ref = Ref{}
			n.dirty[key] = true
		default:
			n.endWaiter(key, c, true)
			if c.ref.Caller != nil {
				n.say(c.ref, c.send, Failed, sharelock.ErrRequestOver.Error())
			}
		}
	}
	n.finish()
}

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

// renew never brings the end nearer.
func (h *naiveClaim) renew(now, ttl time.Duration) {
	// The shortest TTL that reaches as far, by search: the model need not be fast.
	if left := int(h.ends - now); rules.Stretch(ttl) < h.ends-now {
		ttl = time.Duration(sort.Search(left, func(d int) bool { return rules.Stretch(time.Duration(d)) >= h.ends-now }))
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
					h.renew(a.now, max(h.ttl, r.TTL))
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
