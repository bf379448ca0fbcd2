package client

import (
	"fmt"
	"iter"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/session"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// A lock that lives long enough to be renewed is attached to a session: from then on
// the node renews it, and the client sends one keepalive for all locks of the session
// from time to time. The node says of each renewal which keepalive it counts from.

// nodeKeeper is the keeper as the session with one node sees it.
type nodeKeeper struct {
	*keeper
	n *node
}

// attachTo has a node keep a lock alive that is due; false if that cannot be.
func (k *keeper) attachTo(n *node, l *Lock) bool {
	at, ok := n.session.Reserve()
	if !ok {
		return false
	}
	k.mu.Lock()
	if l.err != nil || l.frozen {
		k.mu.Unlock()
		return true // nothing is left to do
	}
	l.at, l.alone = at, false
	ttl := l.hold.TTL
	l.reckon()
	k.requeue(l)
	k.mu.Unlock()
	if !at.Attach(l, ttl) {
		k.unkept(at, l, session.ErrBroken)
		return true
	}
	// It may have ended in between.
	k.mu.Lock()
	still := l.at == at
	k.mu.Unlock()
	if !still {
		at.Detach()
	}
	return true
}

// unkept notes that a lock is not kept where it was.
func (k *keeper) unkept(at session.Attachment, l *Lock, why error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.at != at || l.err != nil {
		return
	}
	l.at = session.Attachment{}
	// A node that refuses it, or whose session did not come about, is not asked again at
	// once: the lock is renewed by itself.
	l.alone = why != session.ErrBroken //nolint:errorlint // the very error
	l.reckon()
	k.requeue(l)
	k.nudge()
}

// News implements session.Keeper.
func (k nodeKeeper) News(list []session.News) {
	now := k.c.now()
	for i := range list {
		n := &list[i]
		switch {
		case n.Forced != nil:
			k.forced(n.Forced)
		case gone(n.Ended):
			k.lost(n.Lock.(*Lock), n.Ended)
		case n.Ended != nil:
			l := n.Lock.(*Lock)
			k.c.log.debug("lock not kept by a session", "key", l.key, "token", l.token, "addr", k.n.addr, "err", n.Ended)
			k.unkept(n.At, l, n.Ended)
		default:
			k.kept(now, n)
		}
	}
}

// forced ends a lock that was taken away.
func (k *keeper) forced(f *sessionwire.Forced) {
	if l := k.find(f); l != nil {
		err := ErrForced
		if f.Reason != "" {
			err = fmt.Errorf("%w: %s", err, f.Reason)
		}
		k.lost(l, err)
	}
}

// find returns the lock that was taken away, or nil.
func (k *keeper) find(f *sessionwire.Forced) *Lock {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.lookup(f.Key, f.Token); l != nil {
		return l
	}
	// Its grant may be on its way to add.
	if len(k.early) == mostEarly {
		k.early = append(k.early[:0], k.early[1:]...)
	}
	k.early = append(k.early, f)
	return nil
}

// takeEarly returns the news about a lock that came before it, or nil. k.mu is held.
func (k *keeper) takeEarly(key string, token sharelock.Token) *sessionwire.Forced {
	for i, f := range k.early {
		if f.Key == key && f.Token == token {
			k.early = append(k.early[:i], k.early[i+1:]...)
			return f
		}
	}
	return nil
}

// kept extends the life of a lock: Q3, from the send of the keepalive that came before
// its renewal. One that comes after the deadline is too late, whatever it says.
func (k *keeper) kept(now time.Duration, n *session.News) {
	l := n.Lock.(*Lock)
	k.mu.Lock()
	defer k.mu.Unlock()
	deadline := l.within(n.Sent + n.TTL)
	if l.err != nil || now >= l.deadline || deadline <= l.deadline {
		return
	}
	k.renewals.Add(1)
	l.deadline = deadline
	l.warned, l.denied = false, nil
	l.reckon()
	if l.due() < l.next {
		k.requeue(l) // otherwise its entry in the heap is early, which does no harm
	}
}

// Broke implements session.Keeper.
func (k nodeKeeper) Broke(locks iter.Seq2[session.Attachment, session.Lock], why error) {
	if k.c.life.Err() != nil {
		return // all locks end
	}
	k.c.owners.doubt(k.n)
	for at, l := range locks {
		k.unkept(at, l.(*Lock), why)
	}
}
