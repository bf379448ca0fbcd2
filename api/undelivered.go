package api

import (
	"time"

	"github.com/sgkandale/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// unsent are the grants of a session whose answers have not been handed to its stream, of
// calls without a request id of the client's: nobody can ask for them again, so they are
// released when the session ends. Its fields are guarded by session.mu.
type unsent struct {
	// calls are the acquires under way that have no request id.
	calls map[uint64]struct{}
	// grants are in the order of their answers, which all go the urgent way.
	grants []unsentGrant
	// taken counts the urgent messages that were taken to be sent.
	taken uint64
	// over: the session sends nothing any more.
	over bool
}

// unsentGrant is a grant whose answer is in the urgent message with this number, from 0.
type unsentGrant struct {
	key     string
	token   sharelock.Token
	ttl     time.Duration
	message uint64
}

// begin notes calls that are started.
func (u *unsent) begin(calls []pb.Call) {
	for i := range calls {
		c := &calls[i]
		if c.Kind != pb.CallAcquire || c.Acquire.RequestID != "" {
			continue
		}
		if u.calls == nil {
			u.calls = map[uint64]struct{}{}
		}
		u.calls[c.ID] = struct{}{}
	}
}

// answered notes the answer to a call, in an urgent message; granted: it is no error.
// It reports whether the answer is a grant that is to be released, since nothing is sent
// any more.
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
	if granted && !u.over {
		u.grants = append(u.grants, unsentGrant{h.Key, h.Token, h.TTL, message})
	}
	return granted && u.over
}

// sent forgets the grants in the messages that were taken: they have been sent.
func (u *unsent) sent() {
	n := 0
	for n < len(u.grants) && u.grants[n].message < u.taken {
		n++
	}
	if u.grants = u.grants[n:]; len(u.grants) == 0 {
		u.grants = nil
	}
}

// close closes the calls of a session that sends nothing any more, and releases the grants
// that were not sent.
func (s *session) close(node Locker) {
	s.mu.Lock()
	s.unsent.over = true
	grants := s.unsent.grants
	s.unsent.grants = nil
	s.mu.Unlock()
	s.calls.Close()
	for _, g := range grants {
		node.TakeBack(sharelock.Hold{Key: g.key, Token: g.token, TTL: g.ttl})
	}
}
