package client

import (
	"fmt"
	"iter"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/session"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// A lock that is held long enough to need a renewal is attached to a session. From then on the node renews it,
// and the client periodically sends one keepalive for all locks of the session. With each renewal the node
// tells from which keepalive it counts.

// nodeKeeper is the session.Keeper of the session with one node.
type nodeKeeper struct {
	*keeper
	n *node
}

// attachTo attaches a lock that is due to the session with a node; false if that is not possible.
func (k *keeper) attachTo(n *node, l *Lock) bool {
	at, ok := n.session.Reserve()
	if !ok {
		return false
	}
	k.mu.Lock()
	if l.err != nil || l.frozen {
		k.mu.Unlock()
		return true // nothing is to be done any more
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
	// The lock may have ended between the two.
	k.mu.Lock()
	still := l.at == at
	k.mu.Unlock()
	if !still {
		at.Detach()
	}
	return true
}

// unkept records that a session no longer keeps a lock alive.
func (k *keeper) unkept(at session.Attachment, l *Lock, why error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.at != at || l.err != nil {
		return
	}
	l.at = session.Attachment{}
	// After a refusal, or without a session, the lock is not attached again at once, but renewed by a call of
	// its own.
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

// forced ends a lock that was released by force.
func (k *keeper) forced(f *sessionwire.Forced) {
	if l := k.find(f); l != nil {
		err := ErrForced
		if f.Reason != "" {
			err = fmt.Errorf("%w: %s", err, f.Reason)
		}
		k.lost(l, err)
	}
}

// find returns the lock that was released by force, or nil. It remembers the news if there is no such lock yet.
func (k *keeper) find(f *sessionwire.Forced) *Lock {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.lookup(f.Key, f.Token); l != nil {
		return l
	}
	// add may be about to be called for it.
	if len(k.early) == mostEarly {
		k.early = append(k.early[:0], k.early[1:]...)
	}
	k.early = append(k.early, f)
	return nil
}

// takeEarly removes and returns the forced release of a lock that came before add, or nil. k.mu must be held.
func (k *keeper) takeEarly(key string, token sharelock.Token) *sessionwire.Forced {
	for i, f := range k.early {
		if f.Key == key && f.Token == token {
			k.early = append(k.early[:i], k.early[i+1:]...)
			return f
		}
	}
	return nil
}

// kept extends the life of a lock that a node has renewed, counted from the send of the keepalive before the
// renewal (Q3). News that comes after the deadline is too late.
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
		k.requeue(l) // otherwise the entry in the heap is earlier than necessary; see attend
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
