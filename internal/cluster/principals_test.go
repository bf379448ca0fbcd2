package cluster_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/caller"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// Q7: holds, waiters and request ids stay those of their principals when their owner dies, whichever
// node takes the calls.
func TestSimPrincipalsOutliveTheOwner(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const dead = 0
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, MaxTTL: 20 * time.Second, Without: []cluster.Invariant{cluster.Linearizable}})
		ctx := limited(t)
		ci, apps := caller.With(ctx, caller.Caller{Principal: "ci"}), caller.With(ctx, caller.Caller{Principal: "apps/x"})
		key := keyOwnedBy(t, c, dead)
		get := sharelock.AcquireRequest{Key: key, ClientID: "c", RequestID: "r", TTL: 20 * time.Second, Wait: 40 * time.Second}
		h, err := c.Node(1).Acquire(ci, get)
		must(t, err)
		granted := make(chan sharelock.Hold, 1)
		go func() { // another principal waits with the same id
			h, err := c.Node(2).Acquire(apps, get)
			if err != nil || h.Principal != "apps/x" {
				t.Errorf("%s: the other principal is answered %+v, %v", invariant.OwnHolds, h, err)
			}
			granted <- h
		}()
		waitQueue(ctx, t, c, 1, key, 1)

		denied := func(when string) {
			t.Helper()
			_, renewing := c.Node(2).Renew(apps, key, h.Token, 0, nil)
			_, releasing := c.Node(2).Release(apps, key, h.Token, false)
			for _, err := range []error{renewing, releasing} {
				if !errors.Is(err, sharelock.ErrPermissionDenied) {
					t.Errorf("%s: %s another principal is answered %v", invariant.OwnHolds, when, err)
				}
			}
		}
		denied("before the owner died")
		c.Kill(dead)
		again, err := c.Node(2).Acquire(ci, get)
		must(t, err)
		if again.Token != h.Token {
			t.Errorf("%s: a retry got token %v, want %v", invariant.OwnHolds, again.Token, h.Token)
		}
		denied("after the owner died")
		waitQueue(ctx, t, c, 1, key, 1)
		l, err := c.Node(1).Get(ctx, key)
		must(t, err)
		if len(l.Holds) != 1 || l.Holds[0].Principal != "ci" || l.Waiters[0].Principal != "apps/x" {
			t.Errorf("%s: the key is %+v", invariant.OwnHolds, l)
		}
		_, err = c.Node(1).Release(ci, key, h.Token, false)
		must(t, err)
		var next sharelock.Hold
		select {
		case next = <-granted:
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		}
		if next.Principal != "apps/x" || next.Token <= h.Token {
			t.Errorf("%s: the waiter got %+v", invariant.OwnHolds, next)
		}
		_, err = c.Node(2).Release(apps, key, next.Token, false)
		must(t, err)
	})
}
