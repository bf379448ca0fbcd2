package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/caller"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// limitOf configures nodes that allow each principal n holds in the whole mesh.
func limitOf(n int) func(int, *mesh.Config) {
	return func(_ int, cfg *mesh.Config) {
		cfg.Hooks.PrincipalLimits = func(string) (int, int) { return n, 0 }
	}
}

// Q8: a principal gets exactly as many holds as it may have, whichever nodes are asked, own the keys,
// die and come back. Other principals are not affected.
func TestSimQuotaOfAPrincipal(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const most = 5
		c := cluster.Start(t, cluster.Options{
			Net: cluster.Memory, MaxTTL: time.Minute, Configure: limitOf(most), Without: []cluster.Invariant{cluster.Linearizable},
		})
		ctx := limited(t)
		ci := caller.With(ctx, caller.Caller{Principal: "ci"})
		try := func(ctx context.Context, node int, key string) (sharelock.Hold, error) {
			return c.Node(node).Acquire(ctx, sharelock.AcquireRequest{Key: key, ClientID: "c", TTL: time.Minute})
		}
		var holds []sharelock.Hold
		for i := range 2 * most { // one after the other: the first most are admitted
			h, err := try(ci, i%3, fmt.Sprint("k", i))
			if i < most {
				must(t, err)
				holds = append(holds, h)
			} else if !errors.Is(err, sharelock.ErrQuota) {
				t.Errorf("%s: acquire %d of a principal that may have %d: %v", invariant.Bounded, i+1, most, err)
			}
		}
		_, err := try(caller.With(ctx, caller.Caller{Principal: "other"}), 0, "other")
		must(t, err)
		// Held locks can be renewed and released, whatever the count.
		for _, h := range holds {
			_, err := c.Node(0).Renew(ci, h.Key, h.Token, 0, nil)
			must(t, err)
		}
		_, err = c.Node(1).Release(ci, holds[0].Key, holds[0].Token, false)
		must(t, err)
		c.Kill(2)
		race := func() int64 {
			var granted atomic.Int64
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() {
					_, err := try(ci, i%2, fmt.Sprint("race", i))
					switch {
					case err == nil:
						granted.Add(1)
					case !errors.Is(err, sharelock.ErrQuota):
						t.Errorf("acquire %d: %v", i, err)
					}
				})
			}
			wg.Wait()
			return granted.Load()
		}
		if n := race(); n != 1 {
			t.Errorf("%s: %d of 10 are admitted at the same time, where 1 may be", invariant.Bounded, n)
		}
		must(t, c.Restart(ctx, 2))
		must(t, c.WaitMembers(ctx, 3))
		page, err := c.Node(0).List(ctx, sharelock.ListRequest{})
		must(t, err)
		if n := len(page.Locks); n != most+1 {
			t.Errorf("%s: %d keys are held, want %d", invariant.Bounded, n, most+1)
		}
	})
}
