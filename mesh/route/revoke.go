package route

import (
	"context"
	"errors"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
)

// Revoke implements api.Session.
func (s *session) Revoke(allowed func(key string) (anyHold bool, err error)) {
	s.kept.Revoke(allowed)
	var refused []uint64
	s.mu.Lock()
	for id, q := range s.calls {
		if q.req.Kind != owner.Acquire || q.revoked != nil {
			continue
		}
		if _, q.revoked = allowed(q.req.Key); q.revoked != nil {
			refused = append(refused, id)
		}
	}
	s.mu.Unlock()
	for _, id := range refused {
		s.Cancel(id)
	}
}

// refused returns the answer of an acquire that is no longer allowed. A grant that came in the same
// moment is released, unless the client made the request id: if it is allowed again, by a newer
// credential, it finds that grant by its id, and a release on its way would then end a lock that the
// client holds. Such a grant lasts for its TTL (Q2).
func (q *request) refused(revoked error, h sharelock.Hold, err error) (sharelock.Hold, error) {
	if err == nil {
		if !q.req.OwnID {
			q.session.router.TakeBack(h)
		}
	} else if !errors.Is(err, context.Canceled) {
		return h, err // the owner has refused it
	}
	return sharelock.Hold{}, revoked
}
