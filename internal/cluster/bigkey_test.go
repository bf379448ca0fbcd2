package cluster_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// A semaphore with more holders than fit into a message is used through a node other than its
// owner. Reads return quickly, list some holds and count all. All holds can be ended by client and
// by force.
func TestSimKeyWithManyHolders(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const holders = 2300
		c := cluster.Start(inRAM(t), cluster.Options{
			Net: cluster.Memory, Nodes: 2, MaxTTL: time.Minute, Configure: copies(1),
		})
		ctx := patient(t)
		key, node := keyOwnedBy(t, c, 1), c.Node(0)
		metadata := map[string]string{"why": strings.Repeat("x", 1900)}
		acquire := func(i int) error {
			_, err := node.Acquire(ctx, sharelock.AcquireRequest{
				Key: key, ClientID: fmt.Sprint("c", i), TTL: time.Minute, Slots: holders, Metadata: metadata,
			})
			return err
		}
		for i := range holders {
			must(t, acquire(i))
		}
		asked := time.Now()
		var held *sharelock.Error
		if err := acquire(holders); !errors.As(err, &held) || held.Err != sharelock.ErrLockHeld || len(held.Holds) != sharelock.MaxHolders {
			t.Errorf("one more is told %v", err)
		}
		l, err := node.Get(ctx, key)
		must(t, err)
		check, err := node.CheckToken(ctx, key, l.Holds[0].Token)
		must(t, err)
		page, err := node.List(ctx, sharelock.ListRequest{Prefix: key})
		must(t, err)
		if took := time.Since(asked); took > 100*time.Millisecond {
			t.Errorf("four reads took %v", took)
		}
		for what, got := range map[string][2]int{
			"get": {len(l.Holds), l.HoldCount}, "check": {len(check.Holds), check.HoldCount}, "list": {len(page.Locks[0].Holds), page.Locks[0].HoldCount},
		} {
			// Get reads in several steps. CheckToken and List show only what one step reads of a key (Q6).
			if got[0] < 5 || what == "get" && got[0] < 100 || got[0] > 150 || got[1] != holders {
				t.Errorf("%s lists %d of %d holds, want a part of %d", what, got[0], got[1], holders)
			}
		}
		if !check.Current {
			t.Error("the first token is no grant")
		}
		if h, err := node.ReleaseClient(ctx, key, fmt.Sprint("c", holders-1)); err != nil || h.ClientID != fmt.Sprint("c", holders-1) {
			t.Errorf("released %+v: %v", h, err)
		}
		forced, err := node.ForceRelease(ctx, key, 0, "test")
		if err != nil || len(forced) < 100 || len(forced) > 150 {
			t.Errorf("forcing all lists %d holds: %v", len(forced), err)
		}
		if _, err := node.Get(ctx, key); !errors.Is(err, sharelock.ErrNotHeld) {
			t.Errorf("after that the key is %v", err)
		}
	})
}
