package cluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
)

// Acquires that are cancelled at any moment leave neither a hold nor a waiter, also those of a new
// client that does not know the owners yet.
func TestCancelledAcquiresLeaveNothing(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	if err := c.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, transport := range []client.Transport{client.TransportPlain, client.TransportGRPC} {
		for round := range 4 {
			cl, err := c.Dial(t.Context(), client.Options{Transport: transport, ClientID: fmt.Sprint("canceller-", transport, round)})
			if err != nil {
				t.Fatal(err)
			}
			var work sync.WaitGroup
			for range 32 {
				work.Go(func() {
					for range 20 {
						ctx, cancel := context.WithTimeout(t.Context(), rand.N(2*time.Millisecond))
						l, err := cl.Acquire(ctx, fmt.Sprint("k", rand.IntN(8)))
						if err == nil {
							_ = l.Release(ctx)
						}
						cancel()
					}
				})
			}
			work.Wait()
			if err := cl.Close(); err != nil {
				t.Error(err)
			}
			page, err := c.Client(0).List(t.Context(), sharelock.ListRequest{})
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range page.Locks {
				t.Errorf("transport %d, round %d: %s has %d holds and %d waiters", transport, round, l.Key, len(l.Holds), len(l.Waiters))
			}
		}
	}
}
