package client

import (
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// A lock that lives long enough to be renewed is attached to a session: from then on
// the node renews it, and the client sends one keepalive for all locks of the session
// from time to time. The node says of each renewal which keepalive it counts from.

const (
	// perTTL keepalives are sent in the shortest TTL, but not further apart than
	// longestPeriod.
	perTTL        = 24
	longestPeriod = 5 * time.Second
	// maxSent bounds the keepalives whose sends are remembered. A renewal that counts
	// from an older one is worth nothing.
	maxSent = 1 << 13
)

// attached is where a lock is kept alive.
type attached struct {
	stream *stream
	id     uint64
}

// keptLock is a lock of a stream, and the TTL that it was attached with.
type keptLock struct {
	*Lock
	ttl time.Duration
}

// keeping is what a stream knows of the locks that it keeps. Guarded by stream.mu.
type keeping struct {
	// locks by their ids; ttls are how many there are of each TTL.
	locks map[uint64]keptLock
	ttls  map[time.Duration]int
	// sent are the times at which keepalives were sent, by the client's clock; the last
	// one's number is last.
	sent []time.Duration
	last uint64
	// pending: the newest keepalive is among what waits to be sent.
	pending bool
	// unanswered: nothing was heard since a keepalive was sent.
	unanswered bool
}

// period is the time between two keepalives; 0 if none are needed.
func (a *keeping) period() time.Duration {
	shortest := time.Duration(0)
	for ttl := range a.ttls {
		if shortest == 0 || ttl < shortest {
			shortest = ttl
		}
	}
	return min(shortest/perTTL, longestPeriod)
}

// note remembers when the next keepalive is sent.
func (a *keeping) note(now time.Duration) {
	a.last++
	if len(a.sent) == maxSent {
		a.sent = append(a.sent[:0], a.sent[maxSent/2:]...)
	}
	a.sent = append(a.sent, now)
}

// sentAt is when a keepalive was sent; false if it never was, or too long ago.
func (a *keeping) sentAt(n uint64) (time.Duration, bool) {
	first := a.last - uint64(len(a.sent)) + 1
	if n < first || n > a.last {
		return 0, false
	}
	return a.sent[n-first], true
}

// beat appends a keepalive to what waits to be sent, unless one does. mu is held.
func (st *stream) beat() {
	a := &st.alive
	if a.pending {
		return
	}
	// Q3: before it is sent.
	now := st.s.now()
	if !st.waits() {
		st.heard = now
	}
	a.pending, a.unanswered = true, true
	a.note(now)
	st.urgent = sessionwire.AppendKeep(st.first(), &sessionwire.Keep{Kind: sessionwire.KeepAlive, ID: a.last})
}

// attach has the node keep a lock alive; false if the stream is broken. id is one that
// nextHold gave.
func (st *stream) attach(id uint64, l *Lock, ttl time.Duration) bool {
	st.mu.Lock()
	if st.err != nil {
		st.mu.Unlock()
		return false
	}
	a := &st.alive
	if a.locks == nil {
		a.locks, a.ttls = map[uint64]keptLock{}, map[time.Duration]int{}
	}
	a.locks[id] = keptLock{l, ttl}
	a.ttls[ttl]++
	st.beat()
	st.urgent = sessionwire.AppendKeep(st.first(), &sessionwire.Keep{Kind: sessionwire.KeepAttach, ID: id, Key: l.key, Token: l.token, TTL: ttl})
	st.mu.Unlock()
	st.nudge()
	return true
}

// detach ends that, if it has not ended.
func (st *stream) detach(id uint64) {
	st.mu.Lock()
	known := st.forget(id) != nil && st.err == nil
	if known {
		st.urgent = sessionwire.AppendKeep(st.first(), &sessionwire.Keep{Kind: sessionwire.KeepDetach, ID: id})
	}
	st.mu.Unlock()
	if known {
		st.nudge()
	}
}

// forget takes a lock out; nil if it is not in. mu is held.
func (st *stream) forget(id uint64) *Lock {
	a := &st.alive
	l, ok := a.locks[id]
	if !ok {
		return nil
	}
	delete(a.locks, id)
	if a.ttls[l.ttl]--; a.ttls[l.ttl] == 0 {
		delete(a.ttls, l.ttl)
	}
	return l.Lock
}

// keptNews is what a message says of one lock: it was renewed as of a send, or is not
// kept any more.
type keptNews struct {
	lock *Lock
	id   uint64
	// ttl is what the lock lives from then on, at least: the TTL that it is attached with,
	// which is all that the node asks its owner for.
	sent, ttl time.Duration
	ended     error
	// forced is a lock of this client's that was taken away, wherever it is kept; the other
	// fields are not set then.
	forced *sessionwire.Forced
}

// closedByNode is why a node has ended a session.
type closedByNode struct{ error }

// kept reads what a message says of locks that are kept. The error is a closedByNode if the node ends
// the session. mu is held.
func (st *stream) kept(data []byte, news []keptNews) ([]keptNews, error) {
	var (
		r sessionwire.KeptReader
		k sessionwire.Kept
	)
	for r.Reset(data); ; {
		more, err := r.Next(&k)
		if err != nil || !more {
			return news, err
		}
		if k.Closing != nil {
			return news, closedByNode{statusError(k.Closing)}
		}
		if k.Ring != nil {
			st.tell(k.Ring)
			continue
		}
		if k.Forced != nil {
			news = append(news, keptNews{forced: k.Forced})
			continue
		}
		if k.Position > 0 {
			if x := st.calls[k.ID]; x != nil {
				x.queued.tell(int(k.Position))
			}
			continue
		}
		if k.Status != nil {
			if l := st.forget(k.ID); l != nil {
				news = append(news, keptNews{lock: l, id: k.ID, ended: sharelockv1.FromError(statusError(k.Status))})
			}
			continue
		}
		l, ok := st.alive.locks[k.ID]
		if !ok {
			// Its detach was sent; if it went another way than the attach it has had no
			// effect.
			st.urgent = sessionwire.AppendKeep(st.first(), &sessionwire.Keep{Kind: sessionwire.KeepDetach, ID: k.ID})
			st.nudge()
			continue
		}
		if sent, ok := st.alive.sentAt(k.Keepalive); ok {
			news = append(news, keptNews{lock: l.Lock, id: k.ID, sent: sent, ttl: l.ttl})
		}
	}
}

// attachTo has a node keep a lock alive that is due; false if that cannot be.
func (k *keeper) attachTo(n *node, l *Lock) bool {
	s := n.session
	if s.unary() {
		return false
	}
	st, err := s.open()
	if err != nil {
		return false
	}
	at := attached{st, st.holds.Add(1)}
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
	if !st.attach(at.id, l, ttl) {
		k.unkept(at, l, errBroken)
		return true
	}
	// It may have ended in between.
	k.mu.Lock()
	still := l.at == at
	k.mu.Unlock()
	if !still {
		st.detach(at.id)
	}
	return true
}

// errBroken: a stream that kept locks is there no more. They are attached elsewhere
// when they are due.
var errBroken = status.Error(codes.Unavailable, "the session ended")

// unkept notes that a lock is not kept where it was.
func (k *keeper) unkept(at attached, l *Lock, why error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.at != at || l.err != nil {
		return
	}
	l.at = attached{}
	// A node that refuses it, or whose session did not come about, is not asked again at
	// once: the lock is renewed by itself.
	l.alone = why != errBroken //nolint:errorlint // the very error
	l.reckon()
	k.requeue(l)
	k.nudge()
}

// news takes what a node said of locks that it keeps.
func (k *keeper) news(st *stream, list []keptNews) {
	now := k.c.now()
	for i := range list {
		n := &list[i]
		switch {
		case n.forced != nil:
			k.forced(n.forced)
		case gone(n.ended):
			k.lost(n.lock, n.ended)
		case n.ended != nil:
			k.c.log.debug("lock not kept by a session", "key", n.lock.key, "token", n.lock.token, "addr", st.s.n.addr, "err", n.ended)
			k.unkept(attached{st, n.id}, n.lock, n.ended)
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
func (k *keeper) kept(now time.Duration, n *keptNews) {
	l := n.lock
	k.mu.Lock()
	defer k.mu.Unlock()
	deadline := l.within(n.sent + n.ttl)
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

// broke takes the locks of a stream that is there no more.
func (k *keeper) broke(st *stream, locks map[uint64]keptLock, why error) {
	if k.c.life.Err() != nil {
		return // all locks end
	}
	k.c.owners.doubt(st.s.n)
	for id, l := range locks {
		k.unkept(attached{st, id}, l.Lock, why)
	}
}
