package mesh

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/owner"
)

// Q2: a call that was cancelled is never sent once more, as it would be after a view change:
// the client's fence may have been at the old owner before it.
func TestCancelledIsNotSentAgain(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := linkNode(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		sent := &acquire{call: newCall(n, owner.Request{Kind: owner.Acquire, Key: "k", RequestID: "r", OwnID: true, TTL: time.Minute})}
		sent.sends = append(sent.sends, n.clock())
		n.showView(t, 2, "a", "b")
		if _, err := sent.run(ctx); !errors.Is(err, context.Canceled) || len(sent.sends) != 1 {
			t.Errorf("acquire: %v after %d sends, want %v after 1", err, len(sent.sends), context.Canceled)
		}
		other := newCall(n, owner.Request{Kind: owner.Release, Key: "k", Token: 1})
		if _, err := other.do(ctx); !errors.Is(err, context.Canceled) || len(other.sends) != 0 {
			t.Errorf("release: %v after %d sends, want %v after none", err, len(other.sends), context.Canceled)
		}
	})
}
