package owner

import (
	"time"

	"github.com/sgkandale/sharelock"
)

const (
	// longestPeriod bounds the period of Q5.
	longestPeriod = 2 * time.Second
	// silentPeriods is how many periods without a send end a waiter (Q5).
	silentPeriods = 3
)

// claim is one acquire: a waiter, and after its grant the hold. There may be a
// million of them, so it has no field that most do not need.
type claim struct {
	key *keyState
	// prev and next are the neighbours in the key's holds or waiters.
	prev, next *claim

	client  string
	request string
	// token is 0 while it waits.
	token sharelock.Token
	ttl   time.Duration
	// deadline is when a hold expires; only the owner knows.
	deadline time.Duration
	// more is nil for a hold without metadata.
	more *more
	// place is the index in the deadline heap, from 1; 0 is not in it.
	place int32
	mode  sharelock.Mode
	// ownID: the request id was made by the client.
	ownID bool
	// resent: the request is known in all copies to have been sent again.
	resent bool
}

// more is what only some claims have: metadata, and at the owner of a waiter what
// cannot be copied.
type more struct {
	meta map[string]string

	// ref is where the answer goes; the zero Ref is detached or settling.
	ref Ref
	// ttl is the one of the newest send.
	ttl time.Duration
	// limit is when the wait of the newest send is over.
	limit time.Duration
	// seen is when the newest send arrived, or when the owner was activated.
	seen time.Duration
	// since is when it entered this owner's queue.
	since time.Duration
	// settles is when it stops to be waited for; 0 if it does not settle.
	settles time.Duration
	// send is the number of the newest send.
	send uint32
	// resent: this owner saw more than the first send.
	resent bool
}

func (c *claim) held() bool { return c.token != 0 }

func (c *claim) meta() map[string]string {
	if c.more == nil {
		return nil
	}
	return c.more.meta
}

// trim drops what only the owner of a waiter needs.
func (c *claim) trim() {
	if c.more == nil {
		return
	}
	if c.more.meta == nil {
		c.more = nil
		return
	}
	c.more = &more{meta: c.more.meta}
}

// period is the time between two sends of a waiter with this TTL (Q5).
func period(ttl time.Duration) time.Duration { return min(ttl/3, longestPeriod) }

// due is when Tick must look at the claim.
func (c *claim) due() time.Duration {
	if c.held() {
		return c.deadline
	}
	w := c.more
	at := w.seen + silentPeriods*period(w.ttl)
	if w.ref.Caller != nil {
		// A waiter whose caller is gone keeps its place for the three periods,
		// whatever its wait was: the retry brings a new one.
		at = min(at, w.limit)
	}
	if w.settles != 0 {
		at = min(at, w.settles)
	}
	return at
}

// claims is a list of claims, linked through them in a circle. The zero value is
// empty.
type claims struct{ first *claim }

func (l *claims) push(c *claim) {
	if l.first == nil {
		l.first, c.prev, c.next = c, c, c
		return
	}
	last := l.first.prev
	c.prev, c.next = last, l.first
	last.next, l.first.prev = c, c
}

func (l *claims) remove(c *claim) {
	if c.next == c {
		l.first = nil
	} else {
		c.prev.next, c.next.prev = c.next, c.prev
		if l.first == c {
			l.first = c.next
		}
	}
	c.prev, c.next = nil, nil
}

// after is the claim behind c, nil behind the last.
func (l *claims) after(c *claim) *claim {
	if c.next == l.first {
		return nil
	}
	return c.next
}

// keyState is a key that somebody holds or waits for.
type keyState struct {
	name string
	// holds in the order of their tokens.
	holds claims
	// crowd is nil for a key with few holds and no waiter.
	crowd *crowd
	// slots is 0 for a mutex.
	slots uint32
	// held is the length of holds.
	held uint32
}

// crowd is what only a busy key has.
type crowd struct {
	// waiting in the order of the log (Q5).
	waiting claims
	// n is the length of waiting.
	n int
	// ids and tokens find claims; nil while there are few.
	ids    map[string]*claim
	tokens map[sharelock.Token]*claim
	// marked: the key is in Machine.marked.
	marked bool
}

// A key gets an index when it has more than indexFrom claims, and loses it when
// it has indexTo: in between, nothing flaps.
const (
	indexFrom = 16
	indexTo   = 8
)

// firstWaiter is the head of the queue, or nil.
func (k *keyState) firstWaiter() *claim {
	if k.crowd == nil {
		return nil
	}
	return k.crowd.waiting.first
}

// nextWaiter is the waiter behind c, or nil.
func (k *keyState) nextWaiter(c *claim) *claim { return k.crowd.waiting.after(c) }

// waiters is the length of the queue.
func (k *keyState) waiters() int {
	if k.crowd == nil {
		return 0
	}
	return k.crowd.n
}

// size is the number of claims.
func (k *keyState) size() int { return int(k.held) + k.waiters() }

// admits reports whether the holds leave room for one more of this mode. Who
// waits does not matter here.
func (k *keyState) admits(mode sharelock.Mode) bool {
	switch {
	case k.held == 0:
		return true
	case k.slots > 1:
		return k.held < k.slots
	default:
		// An exclusive hold is alone, so the first one tells of all.
		return mode == sharelock.Shared && k.holds.first.mode == sharelock.Shared
	}
}

// find is the claim of a request id, or nil.
func (k *keyState) find(request string) *claim {
	if k.crowd != nil && k.crowd.ids != nil {
		return k.crowd.ids[request]
	}
	for c := k.holds.first; c != nil; c = k.holds.after(c) {
		if c.request == request {
			return c
		}
	}
	for c := k.firstWaiter(); c != nil; c = k.nextWaiter(c) {
		if c.request == request {
			return c
		}
	}
	return nil
}

// hold is the hold with this token, or nil.
func (k *keyState) hold(token sharelock.Token) *claim {
	if k.crowd != nil && k.crowd.tokens != nil {
		return k.crowd.tokens[token]
	}
	for c := k.holds.first; c != nil; c = k.holds.after(c) {
		if c.token == token {
			return c
		}
	}
	return nil
}

// add puts a claim at the end of the holds, or of the queue if it has no token.
func (k *keyState) add(c *claim) {
	c.key = k
	if c.held() {
		k.holds.push(c)
		k.held++
	} else {
		if k.crowd == nil {
			k.crowd = &crowd{}
		}
		k.crowd.waiting.push(c)
		k.crowd.n++
	}
	k.index(c)
}

// index makes the index if there is need of one, or enters c into it.
func (k *keyState) index(c *claim) {
	if k.crowd != nil && k.crowd.ids != nil {
		k.enter(c)
		return
	}
	if k.size() <= indexFrom {
		return
	}
	if k.crowd == nil {
		k.crowd = &crowd{}
	}
	k.crowd.ids = make(map[string]*claim, k.size())
	k.crowd.tokens = make(map[sharelock.Token]*claim, k.held)
	for c := k.holds.first; c != nil; c = k.holds.after(c) {
		k.enter(c)
	}
	for c := k.firstWaiter(); c != nil; c = k.nextWaiter(c) {
		k.enter(c)
	}
}

func (k *keyState) enter(c *claim) {
	k.crowd.ids[c.request] = c
	if c.held() {
		k.crowd.tokens[c.token] = c
	}
}

// promote turns a waiter into the newest hold.
func (k *keyState) promote(c *claim, token sharelock.Token) {
	k.crowd.waiting.remove(c)
	k.crowd.n--
	c.token = token
	k.holds.push(c)
	k.held++
	if k.crowd.ids != nil {
		k.enter(c)
	}
	k.settle()
}

// remove takes a claim out.
func (k *keyState) remove(c *claim) {
	if k.crowd != nil && k.crowd.ids != nil {
		delete(k.crowd.ids, c.request)
		delete(k.crowd.tokens, c.token)
	}
	if c.held() {
		k.holds.remove(c)
		k.held--
	} else {
		k.crowd.waiting.remove(c)
		k.crowd.n--
	}
	c.key = nil
	k.settle()
}

// settle gives back what a key that is less busy now does not need.
func (k *keyState) settle() {
	if k.crowd == nil {
		return
	}
	if k.size() <= indexTo {
		k.crowd.ids, k.crowd.tokens = nil, nil
	}
	if k.crowd.n == 0 && k.crowd.ids == nil {
		k.crowd = nil
	}
}
