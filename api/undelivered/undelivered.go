// Package undelivered records the grants of a session whose answers were not sent.
package undelivered

import (
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// Grants records the grants of a session whose answers were not sent on its stream and whose calls
// have no client-made request id. Nobody can ask for these grants again, so they are released when
// the session ends. The zero value is ready. It is not safe for concurrent use.
type Grants struct {
	// calls are the ids of the acquires in flight without a request id.
	calls map[uint64]struct{}
	// grants are in the order of their answers, which are all in urgent messages.
	grants []grant
	// taken is the number of urgent messages that were taken for sending.
	taken uint64
	// closed is set when the session sends nothing any more.
	closed bool
}

// grant is a grant whose answer is in the urgent message with this number, from 0.
type grant struct {
	key     string
	token   sharelock.Token
	ttl     time.Duration
	message uint64
}

// Begin records the calls that are started.
func (u *Grants) Begin(calls []sessionwire.Call) {
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

// Answered records the answer to a call, which is in the urgent message that is sent after ahead others.
// granted reports whether the call succeeded. Answered reports whether the grant must be released
// because nothing is sent any more.
func (u *Grants) Answered(id uint64, h *sharelock.Hold, granted bool, ahead uint64) (lost bool) {
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
		u.grants = append(u.grants, grant{h.Key, h.Token, h.TTL, u.taken + ahead})
	}
	return granted && u.closed
}

// Sent forgets the grants in the messages that were taken before, which have been sent.
func (u *Grants) Sent() {
	n := 0
	for n < len(u.grants) && u.grants[n].message < u.taken {
		n++
	}
	if u.grants = u.grants[n:]; len(u.grants) == 0 {
		u.grants = nil
	}
}

// Take records that an urgent message is taken for sending.
func (u *Grants) Take() { u.taken++ }

// Closed reports whether Close was called.
func (u *Grants) Closed() bool { return u.closed }

// Close records that nothing is sent any more. It returns the grants that were not sent, as far as they
// are needed to release them.
func (u *Grants) Close() []sharelock.Hold {
	u.closed = true
	var holds []sharelock.Hold
	for _, g := range u.grants {
		holds = append(holds, sharelock.Hold{Key: g.key, Token: g.token, TTL: g.ttl})
	}
	u.grants = nil
	return holds
}
