package testcluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/testcluster"
)

// Acquires that are cancelled at random, by clients of both transports, while a node is killed
// and one restarts, leave no hold. SHARELOCK_CANCELS is how many.
func TestCancelStorm(t *testing.T) {
	s := os.Getenv("SHARELOCK_CANCELS")
	if s == "" {
		t.Skip("SHARELOCK_CANCELS says how many; see make storm-cancels")
	}
	cancels, err := strconv.ParseInt(s, 10, 64)
	must(t, err)
	c := testcluster.Start(t, testcluster.Options{Without: []testcluster.Invariant{testcluster.Linearizable}})
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute+time.Duration(cancels)*time.Millisecond)
	defer stop()
	all := []string{c.Addrs(0).GRPC, c.Addrs(1).GRPC, c.Addrs(2).GRPC}
	var (
		done    atomic.Int64
		workers sync.WaitGroup
	)
	for _, transport := range []client.Transport{client.Plain, client.GRPC} {
		workers.Go(func() {
			for done.Load() < cancels {
				// A fresh client each time, which has not learned the ring.
				cl, err := client.Dial(ctx, all, client.Options{Transport: transport, Patience: time.Minute})
				if err != nil {
					t.Error(err)
					return
				}
				var calls sync.WaitGroup
				for range 16 {
					calls.Go(func() {
						for range 32 {
							key := fmt.Sprint("storm/", rand.IntN(100))
							limit, end := context.WithTimeout(ctx, time.Duration(rand.IntN(4000))*time.Microsecond)
							l, err := cl.Acquire(limit, key, client.TTL(time.Minute), client.Wait(time.Minute))
							end()
							if err == nil {
								err = l.Release(ctx)
								if err != nil {
									t.Error(err)
								}
							}
							done.Add(1)
						}
					})
				}
				calls.Wait()
				if err := cl.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	must(t, c.Stop(ctx, 0))
	must(t, c.Restart(ctx, 0))
	must(t, c.WaitReady(ctx))
	c.Kill(1)
	must(t, c.Restart(ctx, 1))
	must(t, c.WaitReady(ctx))
	workers.Wait()
	must(t, c.WaitReady(ctx))
	cl, err := client.Dial(ctx, all, client.Options{})
	must(t, err)
	page, err := cl.List(ctx, sharelock.ListRequest{Prefix: "storm/"})
	must(t, err)
	for _, l := range page.Locks {
		t.Errorf("%q is left: %+v, %d wait", l.Key, l.Holds, len(l.Waiters))
	}
	must(t, cl.Close())
	t.Logf("%d acquires", done.Load())
}
