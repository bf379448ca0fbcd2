package owner

import (
	"hash/maphash"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/compact"
)

// crowd is a key with a waiter, with more than one hold or with slots.
type crowd struct {
	name string
	// slots is 0 for a mutex.
	slots uint32
	// holds in the order of their tokens, waiting in the order of the log (Q5).
	holds, waiting claims
	// ids and tokens find claims; they are empty while there are few.
	ids, tokens compact.HashTable[*more]
	seed        maphash.Seed
	// listening is how many waiters have somebody who listens, or settle, as of an era; in
	// another era all are taken to settle. See Machine.listen.
	listening int
	era       uint32
	// marked: the crowd is in Machine.marked. served is the era of that, of at and of again;
	// in another era all three are zero. See Machine.isMarked.
	marked bool
	served uint32
	// at is the waiter with which it is served on, if that was not done in one step.
	// again: it is to be served from the beginning then.
	at    *more
	again bool
	// read is under way; nil is none.
	read *reading
}

// A crowd gets an index when it has more than indexFrom claims, and loses it when
// it has indexTo: in between, nothing flaps.
const (
	indexFrom = 16
	indexTo   = 8
)

// claims is a list of claims, linked through them in a circle. The zero value is
// empty.
type claims struct {
	first *more
	n     int
}

func (l *claims) push(w *more) {
	l.n++
	if l.first == nil {
		l.first, w.prev, w.next = w, w, w
		return
	}
	last := l.first.prev
	w.prev, w.next = last, l.first
	last.next, l.first.prev = w, w
}

func (l *claims) remove(w *more) {
	l.n--
	if w.next == w {
		l.first = nil
	} else {
		w.prev.next, w.next.prev = w.next, w.prev
		if l.first == w {
			l.first = w.next
		}
	}
	w.prev, w.next = nil, nil
}

// after is the claim behind w, nil behind the last.
func (l *claims) after(w *more) *more {
	if w.next == l.first {
		return nil
	}
	return w.next
}

// first is the first of all claims: of the holds, or of the waiters if there is no hold.
func (cr *crowd) first() *more {
	if cr.holds.first != nil {
		return cr.holds.first
	}
	return cr.waiting.first
}

// behind is the claim that follows w among all claims, or nil.
func (cr *crowd) behind(w *more) *more {
	if !w.claim.held() {
		return cr.waiting.after(w)
	}
	if next := cr.holds.after(w); next != nil {
		return next
	}
	return cr.waiting.first
}

// size is the number of claims.
func (cr *crowd) size() int { return cr.holds.n + cr.waiting.n }

// list is where a claim belongs.
func (cr *crowd) list(c *claim) *claims {
	if c.held() {
		return &cr.holds
	}
	return &cr.waiting
}

// indexed: there are enough claims for an index.
func (cr *crowd) indexed() bool { return cr.ids.Len() > 0 }

// idHash is the hash of a request id. The seed keeps clients from choosing ids that collide.
func (cr *crowd) idHash(request string) uint32 {
	return uint32(maphash.String(cr.seed, request) >> 32)
}

// tokenHash is the hash of a token, which nobody can choose.
func tokenHash(t sharelock.Token) uint32 { return uint32(uint64(t) * 0x9e3779b97f4a7c15 >> 32) }

// find is the claim of a request id, or nil.
func (cr *crowd) find(request string) *more {
	if cr.indexed() {
		return cr.ids.Find(cr.idHash(request), func(x *more) bool { return x.request == request })
	}
	for _, l := range []*claims{&cr.holds, &cr.waiting} {
		for x := l.first; x != nil; x = l.after(x) {
			if x.request == request {
				return x
			}
		}
	}
	return nil
}

// hold is the hold with this token, or nil.
func (cr *crowd) hold(token sharelock.Token) *more {
	if cr.indexed() {
		return cr.tokens.Find(tokenHash(token), func(x *more) bool { return x.claim.token == token })
	}
	for x := cr.holds.first; x != nil; x = cr.holds.after(x) {
		if x.claim.token == token {
			return x
		}
	}
	return nil
}

// join puts a claim at the end of the holds, or of the queue if it has no token.
func (cr *crowd) join(x *more) {
	x.crowd = cr
	cr.list(x.claim).push(x)
	if cr.read != nil {
		cr.read.came(x)
	}
	if cr.indexed() {
		cr.enter(x)
		return
	}
	if cr.size() <= indexFrom {
		return
	}
	for _, l := range []*claims{&cr.holds, &cr.waiting} {
		for x := l.first; x != nil; x = l.after(x) {
			cr.enter(x)
		}
	}
}

// enter puts a claim into the index.
func (cr *crowd) enter(x *more) {
	cr.ids.Put(cr.idHash(x.request), x)
	cr.enterToken(x)
}

func (cr *crowd) enterToken(x *more) {
	if x.claim.held() {
		cr.tokens.Put(tokenHash(x.claim.token), x)
	}
}

// promote turns a waiter into the newest hold.
func (cr *crowd) promote(x *more, token sharelock.Token) {
	cr.passBy(x)
	cr.leaves(x)
	cr.waiting.remove(x)
	x.claim.token = token
	cr.holds.push(x)
	if cr.read != nil {
		cr.read.came(x)
	}
	if cr.indexed() {
		cr.enterToken(x)
	}
}

// leaves is told of a waiter that goes.
func (cr *crowd) leaves(x *more) {
	if !x.claim.held() && (x.era != cr.era || x.listens()) {
		cr.listening--
	}
}

// passBy takes care that the crowd is not served on, or read on, with a claim that goes.
func (cr *crowd) passBy(x *more) {
	if cr.read != nil {
		cr.read.goes(x)
	}
	if cr.at == x {
		cr.at = cr.waiting.after(x)
	}
}

// leave takes a claim out, and gives back what a crowd that is less busy now does
// not need.
func (cr *crowd) leave(x *more) {
	cr.passBy(x)
	cr.leaves(x)
	cr.list(x.claim).remove(x)
	x.crowd = nil
	if !cr.indexed() {
		return
	}
	cr.ids.Remove(cr.idHash(x.request), x)
	if x.claim.held() {
		cr.tokens.Remove(tokenHash(x.claim.token), x)
	}
	if cr.size() <= indexTo {
		cr.ids, cr.tokens = compact.HashTable[*more]{}, compact.HashTable[*more]{}
	}
}
