package machine

import "github.com/sgkandale/sharelock"

// A keyEntry is the present state of one key: idle, or held by one claim and uncontended, or
// contended. It is valid until any claim of the key changes.
type keyEntry struct {
	of        *keyTable
	sole      *claim
	contended *contendedKey
}

// idle reports whether nobody holds the key or waits for it.
func (k keyEntry) idle() bool { return k.sole == nil && k.contended == nil }

// name returns the name of a key that is not idle. It must not be changed or kept.
func (k keyEntry) name() []byte {
	if k.contended != nil {
		return []byte(k.contended.name)
	}
	name, _, _ := k.of.texts.Bytes(k.sole.text)
	return name
}

// slots returns the number of slots of a semaphore, or 0 for a mutex.
func (k keyEntry) slots() uint32 {
	if k.contended == nil {
		return 0
	}
	return k.contended.slots
}

// held returns the number of holds.
func (k keyEntry) held() int {
	switch {
	case k.sole != nil:
		return 1
	case k.contended != nil:
		return k.contended.holds.n
	default:
		return 0
	}
}

// waiters returns the length of the queue.
func (k keyEntry) waiters() int {
	if k.contended == nil {
		return 0
	}
	return k.contended.waiters.n
}

// firstHold returns the oldest hold, or nil.
func (k keyEntry) firstHold() *claim {
	if k.contended == nil {
		return k.sole
	}
	if w := k.contended.holds.first; w != nil {
		return w.claim
	}
	return nil
}

// newest returns the token of the newest hold, or 0.
func (k keyEntry) newest() sharelock.Token {
	switch {
	case k.sole != nil:
		return k.sole.token
	case k.contended != nil && k.contended.holds.first != nil:
		return k.contended.holds.first.prev.claim.token
	}
	return 0
}

// holds calls fn for each hold in the order of their tokens until fn returns false.
func (k keyEntry) holds(fn func(*claim) bool) {
	if k.sole != nil {
		fn(k.sole)
		return
	}
	if k.contended == nil {
		return
	}
	for w := k.contended.holds.first; w != nil; w = k.contended.holds.after(w) {
		if !fn(w.claim) {
			return
		}
	}
}

// queue calls fn for each waiter in the order of the log until fn returns false.
func (k keyEntry) queue(fn func(*claimExtra) bool) {
	if k.contended == nil {
		return
	}
	for w := k.contended.waiters.first; w != nil; w = k.contended.waiters.after(w) {
		if !fn(w) {
			return
		}
	}
}

// admits reports whether the holds allow one more of this mode. Waiters do not matter here.
func (k keyEntry) admits(mode sharelock.Mode) bool {
	switch {
	case k.held() == 0:
		return true
	case k.slots() > 1:
		return k.held() < int(k.slots())
	default:
		// An exclusive hold is the only one, so it is enough to look at the first.
		return mode == sharelock.Shared && k.firstHold().is(isShared)
	}
}

// find returns the claim of a request id of a principal, or nil. A claim without a principal is found
// only without one.
func (k keyEntry) find(principal, request string) *claim {
	return k.findWhere(request, func(c *claim) bool { return k.of.principalOf(c) == principal })
}

// findWhere returns a claim of a request id that fits, or nil.
func (k keyEntry) findWhere(request string, fits func(*claim) bool) *claim {
	switch {
	case k.contended != nil:
		if w := k.contended.find(request, fits); w != nil {
			return w.claim
		}
	case k.sole != nil:
		if _, _, found := k.of.texts.Bytes(k.sole.text); string(found) == request && fits(k.sole) {
			return k.sole
		}
	}
	return nil
}

// hold returns the hold with this token, or nil.
func (k keyEntry) hold(token sharelock.Token) *claim {
	switch {
	case token == 0:
	case k.contended != nil:
		if w := k.contended.hold(token); w != nil {
			return w.claim
		}
	case k.sole != nil && k.sole.token == token:
		return k.sole
	}
	return nil
}
