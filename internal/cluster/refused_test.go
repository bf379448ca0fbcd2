package cluster_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// Acquires are granted, another client sees that, and the grants are lost with their owner before the
// answers arrive. After the quarantine the ids wait behind another client, and their wait ends. So
// acquires that had been granted are refused, and that is correct.
func TestSimRefusedAfterLoss(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const dead, next = 1, 2
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, Configure: copies(1)})
		ctx := limited(t)
		var keys []string
		for _, key := range keysNamed("k", 60) {
			if c.Owner(key) == dead {
				keys = append(keys, key)
			}
		}
		unlucky, other := dial(ctx, t, c, "unlucky", 0), dial(ctx, t, c, "other", next)
		answers := c.HoldMessages(cluster.Messages{From: dead, To: 0, Kinds: []cluster.Kind{cluster.Answers}})
		var users sync.WaitGroup
		var refused atomic.Int32
		for _, key := range keys {
			users.Go(func() {
				l, err := unlucky.Acquire(ctx, key, client.Wait(8*time.Second))
				switch {
				case err == nil: // it was first after all
					err = l.Release(ctx)
				case errors.Is(err, sharelock.ErrLockHeld):
					refused.Add(1)
					return
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		must(t, answers.WaitMet(ctx, 1))
		pause(ctx, 10*time.Millisecond)
		for _, key := range keys {
			var held *sharelock.Error
			if _, err := other.TryAcquire(ctx, key); !errors.As(err, &held) || len(held.Holds) == 0 {
				t.Fatalf("nobody sees the grant of %q: %v", key, err)
			}
		}
		// Everything that node 0 sends to the next owner arrives after the acquires of the other client.
		c.DelayMessages(cluster.Messages{From: 0, To: next, Kinds: []cluster.Kind{cluster.Calls}}, time.Second, 0)
		c.Kill(dead)
		for _, key := range keys {
			users.Go(func() {
				l, err := other.Acquire(ctx, key, client.Wait(20*time.Second))
				if err != nil {
					t.Errorf("acquire of %q after the quarantine: %v", key, err)
					return
				}
				pause(ctx, 10*time.Second)
				if err := l.Release(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		users.Wait()
		if refused.Load() == 0 {
			t.Errorf("none of %d acquires whose grants were lost was refused: nothing was tried", len(keys))
		}
	})
}
