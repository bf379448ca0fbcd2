package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// TestSimCancels is TestCancelStorm in virtual time, over a network with delays. Acquires of new
// clients are cancelled at random while the nodes are restarted and killed in turn. They leave no
// hold and no waiter.
func TestSimCancels(t *testing.T) {
	seed := stormSeed(t)
	t.Logf("SHARELOCK_TEST_SEED=%d", seed)
	virtual.Test(t, func(t *testing.T) {
		const ttl = time.Hour // nothing that is left expires
		c := cluster.Start(inRAM(t), cluster.Options{
			Net: cluster.Memory, Seed: seed, MaxTTL: ttl, Timing: sceneLease, Configure: copies(1),
			Without: []cluster.Invariant{cluster.Linearizable},
		})
		ctx := patient(t)
		rnd := rand.New(rand.NewPCG(seed, 0))
		names := []string{"clients"}
		for i := range c.Len() {
			names = append(names, c.Name(i))
		}
		for _, from := range names {
			for _, to := range names {
				if from != to {
					c.MemNet().Delay(from, to, time.Duration(rnd.IntN(3000))*time.Microsecond)
				}
			}
		}
		storming, calm := context.WithCancel(ctx)
		defer calm()
		var work sync.WaitGroup
		for n := range 4 {
			rnd := rand.New(rand.NewPCG(seed, uint64(n+1)))
			transport := []client.Transport{client.TransportPlain, client.TransportGRPC}[n%2]
			work.Go(func() { cancelling(storming, t, c, rnd, transport, ttl) })
		}
		for i := range c.Len() {
			if rnd.IntN(2) == 0 {
				must(t, c.Stop(ctx, i))
			} else {
				c.Kill(i)
			}
			must(t, c.Restart(ctx, i))
			must(t, c.WaitMembers(ctx, c.Len()))
			pause(ctx, time.Duration(rnd.IntN(1000))*time.Millisecond)
		}
		calm()
		work.Wait()
		must(t, c.WaitReady(ctx))
		pause(ctx, time.Second)
		page, err := c.Client(0).List(ctx, sharelock.ListRequest{Prefix: "cancelled/"})
		must(t, err)
		for _, l := range page.Locks {
			t.Errorf("%q is left: %+v, %+v wait", l.Key, l.Holds, l.Waiters)
		}
	})
}

// cancelling creates one client after the other, and cancels their acquires, until ctx ends.
func cancelling(ctx context.Context, t *testing.T, c *cluster.Cluster, rnd *rand.Rand, transport client.Transport, ttl time.Duration) {
	unending := context.WithoutCancel(ctx)
	for n := 0; ctx.Err() == nil; n++ {
		cl, err := c.Dial(unending, client.Options{Transport: transport, Patience: time.Minute, ClientID: fmt.Sprint("canceller-", n)})
		if err != nil {
			t.Error(err)
			return
		}
		var calls sync.WaitGroup
		for range 4 {
			ends, keys := make([]time.Duration, 16), make([]int, 16)
			for i := range ends {
				ends[i], keys[i] = time.Duration(rnd.IntN(20))*time.Millisecond, rnd.IntN(16)
			}
			calls.Go(func() {
				for i, end := range ends {
					soon, cancel := context.WithTimeout(unending, end)
					l, err := cl.Acquire(soon, fmt.Sprint("cancelled/", keys[i]), client.TTL(ttl), client.Wait(time.Minute))
					cancel()
					if err == nil {
						err = l.Release(unending)
					} else if soon.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
						err = nil
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		calls.Wait()
		if err := cl.Close(); err != nil {
			t.Error(err)
		}
	}
}
