package api

import (
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// unsent records the grants of a session whose answers were not sent on its stream and whose calls
// have no client-made request id. Nobody can ask for these grants again, so they are released when
// the session ends. Its fields are guarded by session.mu.
type unsent struct {
	// calls are the ids of the acquires in flight without a request id.
	calls map[uint64]struct{}
	// grants are in the order of their answers, which are all in urgent messages.
	grants []unsentGrant
	// taken is the number of urgent messages that were taken for sending.
	taken uint64
	// closed is set when the session sends nothing any more.
	closed bool
}

// unsentGrant is a grant whose answer is in the urgent message with this number, from 0.
type unsentGrant struct {
	key     string
	token   sharelock.Token
	ttl     time.Duration
	message uint64
}

// begin records the calls that are started.
func (u *unsent) begin(calls []sessionwire.Call) {
	for i := range calls {
		c := &calls[i]
		if c.Kind != sessionwire.CallAcquire || c.RequestID != "" {
			continue
		}
		if u.calls == nil {
			u.calls = map[uint64]struct{}{}
		}
		u.calls[c.ID] = struct{}{}
	}
}

// answered records the answer to a call, which is in the urgent message with the given number.
// granted reports whether the call succeeded. answered reports whether the grant must be released
// because nothing is sent any more.
func (u *unsent) answered(id uint64, h *sharelock.Hold, granted bool, message uint64) (lost bool) {
	if len(u.calls) == 0 {
		return false
	}
	if _, ok := u.calls[id]; !ok {
		return false
	}
	if delete(u.calls, id); len(u.calls) == 0 {
		u.calls = nil
	}
	if granted && !u.closed {
		u.grants = append(u.grants, unsentGrant{h.Key, h.Token, h.TTL, message})
	}
	return granted && u.closed
}

// sent forgets the grants in the messages that were taken before, which have been sent.
func (u *unsent) sent() {
	n := 0
	for n < len(u.grants) && u.grants[n].message < u.taken {
		n++
	}
	if u.grants = u.grants[n:]; len(u.grants) == 0 {
		u.grants = nil
	}
}

// close cancels the calls and ends the watches of a session that sends nothing any more, and releases the
// grants that were not sent.
func (s *session) close(node Locker) {
	s.mu.Lock()
	s.unsent.closed = true
	grants := s.unsent.grants
	s.unsent.grants = nil
	calls := s.calls
	s.mu.Unlock()
	if s.guard != nil {
		s.guard.Leave()
	}
	s.closeWatches()
	if calls != nil {
		calls.Close()
	}
	for _, g := range grants {
		node.TakeBack(sharelock.Hold{Key: g.key, Token: g.token, TTL: g.ttl})
	}
}
