package machine

import "github.com/sgkandale/sharelock"

// key is one key as it is at the moment: idle, or with one claim that is alone, or
// with a contended key. It is good until the next change of any claim of the key.
type keyEntry struct {
	of        *keyTable
	sole      *claim
	contended *contendedKey
}

// idle: nobody holds it or waits for it.
func (k keyEntry) idle() bool { return k.sole == nil && k.contended == nil }

// name is the key's name; nobody may change or keep it. The key is not idle.
func (k keyEntry) name() []byte {
	if k.contended != nil {
		return []byte(k.contended.name)
	}
	name, _, _ := k.of.texts.Bytes(k.sole.text)
	return name
}

// slots is 0 for a mutex.
func (k keyEntry) slots() uint32 {
	if k.contended == nil {
		return 0
	}
	return k.contended.slots
}

// held is the number of holds.
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

// waiters is the length of the queue.
func (k keyEntry) waiters() int {
	if k.contended == nil {
		return 0
	}
	return k.contended.waiters.n
}

// firstHold is the oldest hold, or nil.
func (k keyEntry) firstHold() *claim {
	if k.contended == nil {
		return k.sole
	}
	if w := k.contended.holds.first; w != nil {
		return w.claim
	}
	return nil
}

// newest is the token of the newest hold, or 0.
func (k keyEntry) newest() sharelock.Token {
	switch {
	case k.sole != nil:
		return k.sole.token
	case k.contended != nil && k.contended.holds.first != nil:
		return k.contended.holds.first.prev.claim.token
	}
	return 0
}

// holds calls fn for each hold in the order of their tokens, until it is false.
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

// queue calls fn for each waiter in the order of the log, until it is false.
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

// admits reports whether the holds leave room for one more of this mode. Who
// waits does not matter here.
func (k keyEntry) admits(mode sharelock.Mode) bool {
	switch {
	case k.held() == 0:
		return true
	case k.slots() > 1:
		return k.held() < int(k.slots())
	default:
		// An exclusive hold is alone, so the first one tells of all.
		return mode == sharelock.Shared && k.firstHold().is(isShared)
	}
}

// find is the claim of a request id, or nil.
func (k keyEntry) find(request string) *claim {
	switch {
	case k.contended != nil:
		if w := k.contended.find(request); w != nil {
			return w.claim
		}
	case k.sole != nil:
		if _, _, found := k.of.texts.Bytes(k.sole.text); string(found) == request {
			return k.sole
		}
	}
	return nil
}

// hold is the hold with this token, or nil.
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
