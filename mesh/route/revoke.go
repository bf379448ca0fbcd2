package route

import (
	"context"
	"errors"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
)

// Revoke implements api.Session.
func (s *session) Revoke(allowed func(key string) error) {
	s.kept.Revoke(allowed)
	var refused []uint64
	s.mu.Lock()
	for id, q := range s.calls {
		if q.req.Kind != owner.Acquire || q.revoked != nil {
			continue
		}
		if q.revoked = allowed(q.req.Key); q.revoked != nil {
			refused = append(refused, id)
		}
	}
	s.mu.Unlock()
	for _, id := range refused {
		s.Cancel(id)
	}
}

// refused returns the answer of an acquire that is no longer allowed. A grant that came in the same
// moment is released, whoever made the request id: nobody may ask for it again.
func (q *request) refused(revoked error, h sharelock.Hold, err error) (sharelock.Hold, error) {
	if err == nil {
		q.session.router.TakeBack(h)
	} else if !errors.Is(err, context.Canceled) {
		return h, err // the owner has refused it
	}
	return sharelock.Hold{}, revoked
}
