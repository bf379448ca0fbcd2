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
	"github.com/sgkandale/sharelock/internal/virtual"
)

// ends returns why the holds of a history have ended, newest first.
func ends(h sharelock.History) (list []string) {
	for _, e := range h.Entries {
		list = append(list, e.ClientID+" "+string(e.End))
	}
	return list
}

// A backup knows as much as the owner, and the loss of the owner changes nothing.
func TestSimPast(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		key := placed(t, c, 0, 1)
		a, b := outside(t.Context(), t, c, "a", 2, 1), outside(t.Context(), t, c, "b", 2, 1)
		first, err := a.Acquire(t.Context(), key, client.TTL(sceneMax))
		must(t, err)
		granted := make(chan *client.Lock, 1)
		go func() {
			l, err := b.Acquire(t.Context(), key, client.TTL(sceneMax))
			must(t, err)
			granted <- l
		}()
		pause(t.Context(), 300*time.Millisecond)
		must(t, first.Release(t.Context()))
		second := <-granted
		pause(t.Context(), 300*time.Millisecond)
		_, err = c.Client(1).ForceRelease(t.Context(), key, second.Token(), "maintenance")
		must(t, err)
		third, err := a.Acquire(t.Context(), key, client.TTL(sceneMax))
		must(t, err)
		pause(t.Context(), 300*time.Millisecond)
		check := func(at int, want ...string) {
			t.Helper()
			h, err := c.Node(at).History(t.Context(), sharelock.HistoryRequest{Key: key})
			must(t, err)
			if got := ends(h); fmt.Sprint(got) != fmt.Sprint(want) || !h.Complete {
				t.Errorf("node %d: %v, complete %t; want %v", at, got, h.Complete, want)
			}
			if e := h.Entries[len(h.Entries)-2]; !e.WaitKnown || e.Waited < 290*time.Millisecond || e.Waited > time.Second {
				t.Errorf("%+v: waited about 300 ms", e)
			}
		}
		for at := range 3 {
			check(at, "a ", "b FORCED", "a RELEASED")
		}
		c.Kill(0)
		must(t, c.WaitReady(t.Context()))
		for at := range 2 {
			check(at+1, "a ", "b FORCED", "a RELEASED")
		}
		must(t, third.Release(t.Context()))
		check(1, "a RELEASED", "b FORCED", "a RELEASED")
		must(t, c.Restart(t.Context(), 0))
		must(t, c.WaitReady(t.Context()))
		for at := range 3 {
			check(at, "a RELEASED", "b FORCED", "a RELEASED")
		}
	})
}

// work makes clients acquire and release keys until ctx ends.
func work(ctx context.Context, t *testing.T, c *cluster.Cluster, clients, keys int) *sync.WaitGroup {
	t.Helper()
	var wg sync.WaitGroup
	for i := range clients {
		cl := outside(ctx, t, c, fmt.Sprint("worker-", i), i%3, (i+1)%3, (i+2)%3)
		rnd := rand.New(rand.NewPCG(1, uint64(i)))
		wg.Go(func() {
			for ctx.Err() == nil {
				l, err := cl.Acquire(ctx, fmt.Sprint("key-", rnd.IntN(keys)), client.TTL(sceneMax))
				if err != nil {
					continue
				}
				pause(ctx, time.Duration(rnd.Int64N(int64(20*time.Millisecond))))
				_ = l.Release(context.WithoutCancel(ctx)) // it may be lost by now
			}
		})
	}
	return &wg
}

// The holders of a key are known for all times, also after a kill and a rolling restart.
func TestSimPastOverRestarts(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		ctx, stop := context.WithCancel(t.Context())
		workers := work(ctx, t, c, 6, 20)
		pause(ctx, 2*time.Second)
		c.Kill(0)
		pause(ctx, 2*sceneLease)
		must(t, c.Restart(ctx, 0))
		must(t, c.WaitReady(ctx))
		for i := range 3 {
			must(t, c.Stop(ctx, i))
			must(t, c.Restart(ctx, i))
			must(t, c.WaitReady(ctx))
			pause(ctx, time.Second)
		}
		stop()
		workers.Wait()
		asked, err := c.CheckPast(t.Context(), rand.New(rand.NewPCG(1, 2)), 100)
		must(t, err)
		t.Logf("%+v of %d calls", asked, len(c.History().Calls()))
		if asked.Complete < asked.Questions*99/100 {
			t.Errorf("%d of %d answers are complete", asked.Complete, asked.Questions)
		}
	})
}

// A decision that only the owner knew did not happen, although the owner's own record has it.
func TestSimPastOfALostOwner(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		key := placed(t, c, 0, 1)
		cl := outside(t.Context(), t, c, "user", 2, 1)
		held, err := cl.Acquire(t.Context(), key, client.TTL(sceneMax))
		must(t, err)
		// The release reaches only the owner. The next owner gets it a second time.
		stuck := c.HoldMessages(cluster.Messages{From: 0, To: 1, Kinds: []cluster.Kind{cluster.Entries}})
		released := make(chan error, 1)
		go func() { released <- held.Release(t.Context()) }()
		must(t, stuck.WaitMet(t.Context(), 1))
		early := time.Now()
		pause(t.Context(), sceneLease/8) // until it is on the disk
		c.Kill(0)
		stuck.End()
		must(t, <-released)
		late := time.Now()
		if late.Sub(early) < sceneLease/2 {
			t.Fatalf("the second release came %v after the first: this test shows nothing", late.Sub(early))
		}
		must(t, c.Restart(t.Context(), 0))
		must(t, c.WaitReady(t.Context()))
		for at := range 3 {
			h, err := c.Node(at).History(t.Context(), sharelock.HistoryRequest{Key: key})
			must(t, err)
			if len(h.Entries) != 1 || !h.Complete || h.Entries[0].End != sharelock.EndReleased || h.Entries[0].Ended.Before(early.Add(sceneLease/4)) {
				t.Errorf("%s: node %d: %+v; released after %v", cluster.Past, at, h, early)
			}
		}
	})
}
