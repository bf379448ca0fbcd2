package testcluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/testcluster"
)

// A lock outlives the crash of its owner, a split heals, and a node that was stopped comes back.
func TestCluster(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := testcluster.Start(t, testcluster.Options{Nodes: 3, Net: testcluster.Memory, MaxTTL: 10 * time.Second})
		if got := c.Len(); got != 3 {
			t.Fatalf("%d nodes", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cl := dial(t, c)
		lock, err := cl.Acquire(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		owner, epoch := c.Owner("k"), c.Epoch()
		c.Kill(owner)
		if err := c.WaitMembers(ctx, 2); err != nil {
			t.Fatal(err)
		}
		if got := c.Owner("k"); got == owner || c.Node(owner) != nil {
			t.Errorf("the key's owner is node %d, which was killed", got)
		}
		if err := lock.Check(ctx); err != nil {
			t.Errorf("after its owner's crash: %v", err)
		}
		must(t, c.Restart(ctx, owner))
		must(t, c.WaitReady(ctx))
		must(t, c.WaitEpoch(ctx, epoch+2))

		lonely := (owner + 1) % 3
		c.Split([]int{lonely}, []int{owner, (owner + 2) % 3})
		must(t, c.WaitAmong(ctx, owner, (owner+2)%3))
		c.Heal()
		must(t, c.WaitReady(ctx))

		added, err := c.Add(ctx)
		must(t, err)
		must(t, c.WaitMembers(ctx, 4))
		must(t, c.Stop(ctx, added))
		must(t, c.WaitMembers(ctx, 3))
		must(t, c.Wipe(added))
		must(t, lock.Release(ctx))
		must(t, c.Check())

		ops := calls(c, "k")
		if !slices.Contains(ops, "acquire") || !slices.Contains(ops, "check") || !slices.Contains(ops, "release") {
			t.Errorf("the history of k has the calls %v", ops)
		}
	})
}

// Each fault between a node and the owner of a key stops the calls for that key, and ends.
func TestNetwork(t *testing.T) {
	for _, tc := range []struct {
		name       string
		begin, end func(c *testcluster.Cluster, i, owner int)
	}{
		{
			"freeze", func(c *testcluster.Cluster, _, owner int) { c.Freeze(owner) },
			func(c *testcluster.Cluster, _, owner int) { c.Thaw(owner) },
		},
		{
			"cut", func(c *testcluster.Cluster, i, owner int) { c.Cut(i, owner) },
			func(c *testcluster.Cluster, i, owner int) { c.Mend(i, owner) },
		},
		{
			"lose replies", func(c *testcluster.Cluster, i, owner int) { c.LoseReplies(i, owner) },
			func(c *testcluster.Cluster, _, _ int) { c.Heal() },
		},
		{
			"split", func(c *testcluster.Cluster, i, owner int) { c.Split([]int{i}, []int{owner}) },
			func(c *testcluster.Cluster, _, _ int) { c.Heal() },
		},
		{
			"delay", func(c *testcluster.Cluster, i, owner int) { c.Delay(i, owner, time.Minute) },
			func(c *testcluster.Cluster, i, owner int) { c.Heal(); c.Reset(i, owner) },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				c := testcluster.Start(t, testcluster.Options{Nodes: 3, Net: testcluster.Memory})
				owner := c.Owner("k")
				i := (owner + 1) % 3
				_, err := c.Client(i).CheckToken(ctx, "k", 1)
				must(t, err)

				tc.begin(c, i, owner)
				short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
				defer stop()
				if _, err := c.Client(i).CheckToken(short, "k", 1); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("meanwhile: %v", err)
				}
				tc.end(c, i, owner)
				must(t, c.WaitReady(ctx))
				_, err = c.Client(i).CheckToken(ctx, "k", 1)
				must(t, err)
			})
		})
	}
}

// A program's own client reaches the nodes through DialContext.
func TestDialContext(t *testing.T) {
	for _, net := range []testcluster.Net{testcluster.Loopback, testcluster.Memory} {
		t.Run(fmt.Sprint(net), func(t *testing.T) {
			c := testcluster.Start(t, testcluster.Options{Nodes: 1, Net: net})
			cl, err := client.Dial(t.Context(), []string{c.Addrs(0).GRPC}, client.Options{Dialer: c.DialContext})
			must(t, err)
			defer cl.Close()
			lock, err := cl.Acquire(t.Context(), "k")
			must(t, err)
			must(t, lock.Release(t.Context()))
			if got := calls(c, "k"); len(got) > 0 {
				t.Errorf("calls of a client that is not the cluster's are recorded: %v", got)
			}
		})
	}
}

func TestNewFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, err := testcluster.New(ctx, testcluster.Options{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", c, err)
	}
}

func dial(t *testing.T, c *testcluster.Cluster) *client.Client {
	t.Helper()
	cl, err := c.Dial(t.Context(), client.Options{ClientID: "worker"})
	must(t, err)
	return cl
}

// calls returns what the history has about a key.
func calls(c *testcluster.Cluster, key string) []string {
	var ops []string
	for _, call := range c.History().Calls() {
		if call.Key == key && call.OK() {
			ops = append(ops, call.Op)
		}
	}
	return ops
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
