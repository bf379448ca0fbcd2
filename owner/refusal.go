package owner

import (
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// A refusal is the state of a copy that a member refuses. The zero value means that it does not. A
// refusal that goes on is no progress (V6), but nothing else waits for it.
type refusal struct {
	// refused is the wait for the member, from the first refusal on; nil if there is none.
	refused *stall
	// until is when the call is tried again, after pause.
	until time.Duration
	pause time.Duration
}

// refuse notes one more refusal and reports whether it is the first.
func (r *refusal) refuse(a *activation, m ring.Member) (first bool) {
	if first = r.refused == nil; first {
		r.refused, r.pause = a.await(m), retryFirst
	}
	r.until = a.service.clock() + r.pause
	r.pause = min(r.pause*2, retryMost)
	return first
}

// end notes that the member does not refuse any more.
func (r *refusal) end(a *activation) {
	if r.refused != nil {
		a.service.stalls.end(r.refused)
		*r = refusal{}
	}
}
