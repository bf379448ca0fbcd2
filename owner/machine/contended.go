package machine

import (
	"hash/maphash"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/compact"
)

// A contendedKey is a key with a waiter, with more than one hold, or with slots.
type contendedKey struct {
	name string
	// slots is 0 for a mutex.
	slots uint32
	// holds in the order of their tokens, waiting in the order of the log (Q5).
	holds, waiters claimList
	// ids and tokens find claims by request id and token. They are empty while there are few
	// claims.
	ids, tokens compact.HashTable[*claimExtra]
	seed        maphash.Seed
	// listening is the number of waiters that are attached or settle, as of era. In any other era
	// all waiters count as settling; see Machine.sync.
	listening int
	era       uint32
	// marked: the contended key is in Machine.marked. served is the era of that, of at and of
	// again; in another era all three are zero. See Machine.isMarked.
	marked bool
	served uint32
	// at is the waiter with which it is served on, if that was not done in one step.
	// again: it is to be served from the beginning then.
	resume  *claimExtra
	restart bool
	// freed is when the last hold of the key ended, by this replica's clock; 0 is not known.
	freed time.Duration
	// read is under way; nil is none.
	read *pendingRead
}

// A contended key gets an index when it has more than indexFrom claims, and loses it when
// it has indexTo: in between, nothing flaps.
const (
	indexFrom = 16
	indexTo   = 8
)

// A claimList is a circular list of claims. The zero value is empty.
type claimList struct {
	first *claimExtra
	n     int
}

func (l *claimList) push(w *claimExtra) {
	l.n++
	if l.first == nil {
		l.first, w.prev, w.next = w, w, w
		return
	}
	last := l.first.prev
	w.prev, w.next = last, l.first
	last.next, l.first.prev = w, w
}

func (l *claimList) remove(w *claimExtra) {
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

// after returns the claim behind w, or nil if w is the last.
func (l *claimList) after(w *claimExtra) *claimExtra {
	if w.next == l.first {
		return nil
	}
	return w.next
}

// first returns the first hold, or the first waiter if there is no hold.
func (ck *contendedKey) first() *claimExtra {
	if ck.holds.first != nil {
		return ck.holds.first
	}
	return ck.waiters.first
}

// behind returns the claim that follows w in the list of all holds and then all waiters, or nil.
func (ck *contendedKey) behind(w *claimExtra) *claimExtra {
	if !w.claim.held() {
		return ck.waiters.after(w)
	}
	if next := ck.holds.after(w); next != nil {
		return next
	}
	return ck.waiters.first
}

// size returns the number of claims.
func (ck *contendedKey) size() int { return ck.holds.n + ck.waiters.n }

// list returns the list to which a claim belongs.
func (ck *contendedKey) list(c *claim) *claimList {
	if c.held() {
		return &ck.holds
	}
	return &ck.waiters
}

// indexed reports whether the key has an index.
func (ck *contendedKey) indexed() bool { return ck.ids.Len() > 0 }

// idHash returns the hash of a request id. The seed keeps clients from choosing ids that collide.
func (ck *contendedKey) idHash(request string) uint32 {
	return uint32(maphash.String(ck.seed, request) >> 32)
}

// tokenHash returns the hash of a token. Clients cannot choose tokens.
func tokenHash(t sharelock.Token) uint32 { return uint32(uint64(t) * 0x9e3779b97f4a7c15 >> 32) }

// find returns a claim of a request id that fits, or nil.
func (ck *contendedKey) find(request string, fits func(*claim) bool) *claimExtra {
	if ck.indexed() {
		return ck.ids.Find(ck.idHash(request), func(x *claimExtra) bool { return x.request == request && fits(x.claim) })
	}
	for _, l := range []*claimList{&ck.holds, &ck.waiters} {
		for x := l.first; x != nil; x = l.after(x) {
			if x.request == request && fits(x.claim) {
				return x
			}
		}
	}
	return nil
}

// hold returns the hold with this token, or nil.
func (ck *contendedKey) hold(token sharelock.Token) *claimExtra {
	if ck.indexed() {
		return ck.tokens.Find(tokenHash(token), func(x *claimExtra) bool { return x.claim.token == token })
	}
	for x := ck.holds.first; x != nil; x = ck.holds.after(x) {
		if x.claim.token == token {
			return x
		}
	}
	return nil
}

// join adds a claim at the end of the holds, or of the queue if it has no token.
func (ck *contendedKey) join(x *claimExtra) {
	x.contended = ck
	ck.list(x.claim).push(x)
	if ck.read != nil {
		ck.read.came(x)
	}
	if ck.indexed() {
		ck.enter(x)
		return
	}
	if ck.size() <= indexFrom {
		return
	}
	for _, l := range []*claimList{&ck.holds, &ck.waiters} {
		for x := l.first; x != nil; x = l.after(x) {
			ck.enter(x)
		}
	}
}

// enter adds a claim to the index.
func (ck *contendedKey) enter(x *claimExtra) {
	ck.ids.Put(ck.idHash(x.request), x)
	ck.enterToken(x)
}

func (ck *contendedKey) enterToken(x *claimExtra) {
	if x.claim.held() {
		ck.tokens.Put(tokenHash(x.claim.token), x)
	}
}

// promote makes a waiter the newest hold.
func (ck *contendedKey) promote(x *claimExtra, token sharelock.Token) {
	ck.passBy(x)
	ck.leaves(x)
	ck.waiters.remove(x)
	x.claim.token = token
	ck.holds.push(x)
	if ck.read != nil {
		ck.read.came(x)
	}
	if ck.indexed() {
		ck.enterToken(x)
	}
}

// leaves is called before a claim leaves its list. It keeps the count of listening waiters right.
func (ck *contendedKey) leaves(x *claimExtra) {
	if !x.claim.held() && (x.era != ck.era || x.listens()) {
		ck.listening--
	}
}

// passBy is called before a claim leaves its list. It moves the positions at which serving and
// reading the key go on.
func (ck *contendedKey) passBy(x *claimExtra) {
	if ck.read != nil {
		ck.read.goes(x)
	}
	if ck.resume == x {
		ck.resume = ck.waiters.after(x)
	}
}

// leave removes a claim, and the index if there are few claims now.
func (ck *contendedKey) leave(x *claimExtra) {
	ck.passBy(x)
	ck.leaves(x)
	ck.list(x.claim).remove(x)
	x.contended = nil
	if !ck.indexed() {
		return
	}
	ck.ids.Remove(ck.idHash(x.request), x)
	if x.claim.held() {
		ck.tokens.Remove(tokenHash(x.claim.token), x)
	}
	if ck.size() <= indexTo {
		ck.ids, ck.tokens = compact.HashTable[*claimExtra]{}, compact.HashTable[*claimExtra]{}
	}
}
