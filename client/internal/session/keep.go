package session

import (
	"iter"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

const (
	// perTTL is the number of keepalives sent during the shortest TTL, but the period is never longer than
	// longestPeriod.
	perTTL        = 24
	longestPeriod = 5 * time.Second
	// maxSent bounds the number of keepalives whose times are remembered. A renewal that counts from an
	// older one is ignored.
	maxSent = 1 << 13
)

// Lock is a lock that a stream keeps alive.
type Lock interface {
	Key() string
	Token() sharelock.Token
}

// Keeper has the locks that streams keep alive. Its methods are called without any mutex of this package held.
type Keeper interface {
	// News is told what one message of the node says of locks. The list is valid until News returns.
	News(list []News)
	// Broke is told that a stream has ended which kept these locks, and why: [ErrBroken] if the node had
	// accepted the stream.
	Broke(locks iter.Seq2[Attachment, Lock], why error)
}

// News is what a message says of one lock: it was renewed as of a send, or is not kept any more.
type News struct {
	At   Attachment
	Lock Lock
	// Sent is when the keepalive was sent from which the renewal counts (Q3). TTL is the least that the
	// lock lives from then on: the TTL of the attachment, with which the node renews it.
	Sent, TTL time.Duration
	// Ended is why the node no longer keeps the lock alive; nil if it was renewed.
	Ended error
	// Forced is a lock of this client that was taken by force, attached or not. The other fields are not
	// set then.
	Forced *sessionwire.Forced
}

// ErrBroken is why locks are no longer kept alive: their stream has ended, which the node had accepted.
var ErrBroken = status.Error(codes.Unavailable, "the session ended")

// Attachment says where a lock is kept alive: by a stream, under an id. The zero value is nowhere.
type Attachment struct {
	stream *stream
	id     uint64
}

// Attached reports whether a is not the zero value.
func (a Attachment) Attached() bool { return a.stream != nil }

// Reserve returns a new attachment for a lock; false if the node has no sessions or cannot be reached.
func (s *Session) Reserve() (Attachment, bool) {
	if s.isUnary() {
		return Attachment{}, false
	}
	st, err := s.open()
	if err != nil {
		return Attachment{}, false
	}
	return Attachment{st, st.holds.Add(1)}, true
}

// Attach asks the node to keep a lock alive, by renewals with this TTL. It returns false if the stream is
// broken. It is called once for each result of Reserve.
func (a Attachment) Attach(l Lock, ttl time.Duration) bool { return a.stream.attach(a.id, l, ttl) }

// Detach ends that, unless it has ended. On the zero value it does nothing.
func (a Attachment) Detach() {
	if a.stream != nil {
		a.stream.detach(a.id)
	}
}

// attachments yields locks that were attached to the stream.
func (st *stream) attachments(locks map[uint64]keptLock) iter.Seq2[Attachment, Lock] {
	return func(yield func(Attachment, Lock) bool) {
		for id, l := range locks {
			if !yield(Attachment{st, id}, l.Lock) {
				return
			}
		}
	}
}

// Kept returns how many locks the node keeps alive.
func (s *Session) Kept() int {
	st := s.cur.Load()
	if st == nil {
		return 0
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.alive.locks)
}

// keptLock is a lock of a stream, and the TTL that it was attached with.
type keptLock struct {
	Lock
	ttl time.Duration
}

// keeping is the state of a stream about the locks that it keeps alive. Guarded by stream.mu.
type keeping struct {
	// locks has the locks by id, ttls the number of them with each TTL.
	locks map[uint64]keptLock
	ttls  map[time.Duration]int
	// sent has the times at which keepalives were sent, by the client's clock. The number of the newest one
	// is last.
	sent []time.Duration
	last uint64
	// pending is set while the newest keepalive waits to be sent.
	pending bool
	// unanswered is set from when a keepalive is sent until the node sends something.
	unanswered bool
}

// period returns the time between two keepalives; 0 if none are needed.
func (a *keeping) period() time.Duration {
	shortest := time.Duration(0)
	for ttl := range a.ttls {
		if shortest == 0 || ttl < shortest {
			shortest = ttl
		}
	}
	return min(shortest/perTTL, longestPeriod)
}

// note records the time of the next keepalive.
func (a *keeping) note(now time.Duration) {
	a.last++
	if len(a.sent) == maxSent {
		a.sent = append(a.sent[:0], a.sent[maxSent/2:]...)
	}
	a.sent = append(a.sent, now)
}

// sentAt returns when a keepalive was sent; false if it never was, or too long ago.
func (a *keeping) sentAt(n uint64) (time.Duration, bool) {
	first := a.last - uint64(len(a.sent)) + 1
	if n < first || n > a.last {
		return 0, false
	}
	return a.sent[n-first], true
}

// beat queues a keepalive, unless one is queued. mu must be held.
func (st *stream) beat() {
	a := &st.alive
	if a.pending {
		return
	}
	// Q3: the time must be read before the send.
	now := st.s.Now()
	if !st.waits() {
		st.heard = now
	}
	a.pending, a.unanswered = true, true
	a.note(now)
	st.urgent = sessionwire.AppendKeep(st.first(), &sessionwire.Keep{Kind: sessionwire.KeepAlive, ID: a.last})
}

// attach asks the node to keep a lock alive, under a new id; false if the stream is broken.
func (st *stream) attach(id uint64, l Lock, ttl time.Duration) bool {
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
	st.urgent = sessionwire.AppendKeep(st.first(), &sessionwire.Keep{Kind: sessionwire.KeepAttach, ID: id, Key: l.Key(), Token: l.Token(), TTL: ttl})
	st.mu.Unlock()
	st.nudge()
	return true
}

// detach asks the node to keep the lock alive no longer, unless that has ended already.
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

// forget removes the lock with this id and returns it, or nil if the id is unknown. mu must be held.
func (st *stream) forget(id uint64) Lock {
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

// closedByNode is why a node has ended a session.
type closedByNode struct{ error }

// kept reads the parts of a message other than answers: news of locks, the owners of all partitions,
// positions in queues, and events of watches. The error is a closedByNode if the node ends the session.
// mu must be held.
func (st *stream) kept(data []byte, news []News) ([]News, error) {
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
		if k.Events != nil {
			st.tellWatch(&k)
			continue
		}
		if k.Watches {
			st.takesWatches = true
			continue
		}
		if k.Forced != nil {
			news = append(news, News{Forced: k.Forced})
			continue
		}
		if k.Position > 0 {
			if x := st.calls[k.ID]; x != nil && x.queued != nil {
				x.queued(int(k.Position))
			}
			continue
		}
		if k.Status != nil {
			if l := st.forget(k.ID); l != nil {
				news = append(news, News{At: Attachment{st, k.ID}, Lock: l, Ended: sharelockv1.FromError(statusError(k.Status))})
			}
			continue
		}
		l, ok := st.alive.locks[k.ID]
		if !ok {
			// Its detach was sent, but may have overtaken the attach and then had no effect.
			st.urgent = sessionwire.AppendKeep(st.first(), &sessionwire.Keep{Kind: sessionwire.KeepDetach, ID: k.ID})
			st.nudge()
			continue
		}
		if sent, ok := st.alive.sentAt(k.Keepalive); ok {
			news = append(news, News{At: Attachment{st, k.ID}, Lock: l.Lock, Sent: sent, TTL: l.ttl})
		}
	}
}
