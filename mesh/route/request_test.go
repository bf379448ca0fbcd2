package route

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/owner"
)

// Q2: a request that was cancelled is never sent once more, as it would be after a view change:
// the client's fence may have been at the old owner before it.
func TestCancelledIsNotSentAgain(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t, "a", "b")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		sent := r.newRequest(t.Context(), owner.Request{Kind: owner.Acquire, Key: "k", RequestID: "r", OwnID: true, TTL: time.Minute})
		sent.sends = append(sent.sends, r.cfg.Clock())
		r.show(t, epochtest.View(1, "a", "b"), epochtest.View(2, "a", "b"))
		if _, err := sent.run(ctx); !errors.Is(err, context.Canceled) || len(sent.sends) != 1 {
			t.Errorf("acquire: %v after %d sends, want %v after 1", err, len(sent.sends), context.Canceled)
		}
		other := r.newRequest(t.Context(), owner.Request{Kind: owner.Release, Key: "k", Token: 1})
		if _, err := other.await(ctx); !errors.Is(err, context.Canceled) || len(other.sends) != 0 {
			t.Errorf("release: %v after %d sends, want %v after none", err, len(other.sends), context.Canceled)
		}
	})
}

// An answer that lacks what its request was for is an error, not a panic.
func TestHollowAnswers(t *testing.T) {
	for _, kind := range []owner.Kind{owner.Acquire, owner.Renew, owner.Release, owner.Force, owner.Get} {
		q := &request{req: owner.Request{Kind: kind}}
		if _, err := q.whole(owner.Answer{Outcome: owner.Done}); !errors.Is(err, sharelock.ErrInternal) {
			t.Errorf("kind %d: %v, want an internal error", kind, err)
		}
	}
}
