package owner

import "github.com/sgkandale/sharelock"

// key is one key as it is at the moment: idle, or with one claim that is alone, or
// with a crowd. It is good until the next change of any claim of the key.
type key struct {
	of    *keys
	alone *claim
	crowd *crowd
}

// idle: nobody holds it or waits for it.
func (k key) idle() bool { return k.alone == nil && k.crowd == nil }

// name is the key's name; nobody may change or keep it. The key is not idle.
func (k key) name() []byte {
	if k.crowd != nil {
		return []byte(k.crowd.name)
	}
	name, _, _ := k.of.texts.Bytes(k.alone.text)
	return name
}

// slots is 0 for a mutex.
func (k key) slots() uint32 {
	if k.crowd == nil {
		return 0
	}
	return k.crowd.slots
}

// held is the number of holds.
func (k key) held() int {
	switch {
	case k.alone != nil:
		return 1
	case k.crowd != nil:
		return k.crowd.holds.n
	default:
		return 0
	}
}

// waiters is the length of the queue.
func (k key) waiters() int {
	if k.crowd == nil {
		return 0
	}
	return k.crowd.waiting.n
}

// firstHold is the oldest hold, or nil.
func (k key) firstHold() *claim {
	if k.crowd == nil {
		return k.alone
	}
	if w := k.crowd.holds.first; w != nil {
		return w.claim
	}
	return nil
}

// newest is the token of the newest hold, or 0.
func (k key) newest() sharelock.Token {
	switch {
	case k.alone != nil:
		return k.alone.token
	case k.crowd != nil && k.crowd.holds.first != nil:
		return k.crowd.holds.first.prev.claim.token
	}
	return 0
}

// holds calls fn for each hold in the order of their tokens, until it is false.
func (k key) holds(fn func(*claim) bool) {
	if k.alone != nil {
		fn(k.alone)
		return
	}
	if k.crowd == nil {
		return
	}
	for w := k.crowd.holds.first; w != nil; w = k.crowd.holds.after(w) {
		if !fn(w.claim) {
			return
		}
	}
}

// queue calls fn for each waiter in the order of the log, until it is false.
func (k key) queue(fn func(*more) bool) {
	if k.crowd == nil {
		return
	}
	for w := k.crowd.waiting.first; w != nil; w = k.crowd.waiting.after(w) {
		if !fn(w) {
			return
		}
	}
}

// admits reports whether the holds leave room for one more of this mode. Who
// waits does not matter here.
func (k key) admits(mode sharelock.Mode) bool {
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
func (k key) find(request string) *claim {
	switch {
	case k.crowd != nil:
		if w := k.crowd.find(request); w != nil {
			return w.claim
		}
	case k.alone != nil:
		if _, _, found := k.of.texts.Bytes(k.alone.text); string(found) == request {
			return k.alone
		}
	}
	return nil
}

// hold is the hold with this token, or nil.
func (k key) hold(token sharelock.Token) *claim {
	switch {
	case token == 0:
	case k.crowd != nil:
		if w := k.crowd.hold(token); w != nil {
			return w.claim
		}
	case k.alone != nil && k.alone.token == token:
		return k.alone
	}
	return nil
}
