package cluster_test

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// Q3: the node tells the caller how long the request had waited when the send that was granted was
// sent. The node has measured that on its own clock. A fast clock must not make the caller rely on
// the lock for longer than its owner keeps it. The cluster's invariants would show that.
func TestSimLongWaitAtAFastNode(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		exact := clock.Monotonic()
		c := cluster.Start(t, cluster.Options{
			Net: cluster.Memory, Nodes: 1, MaxTTL: 20 * time.Second,
			Configure: func(_ int, cfg *mesh.Config) {
				cfg.Clock = func() time.Duration { return exact() * 109 / 100 }
			},
		})
		ctx := limited(t)
		first, err := c.Client(0).Acquire(ctx, "k", client.TTL(20*time.Second))
		must(t, err)
		second := make(chan error, 1)
		go func() {
			_, err := c.Client(0).Acquire(ctx, "k", client.Wait(time.Minute), client.TTL(time.Second), client.NoRenew())
			second <- err
		}()
		time.Sleep(17 * time.Second)
		must(t, first.Release(ctx))
		must(t, <-second)
		_, err = c.Client(0).Acquire(ctx, "k", client.Wait(20*time.Second))
		must(t, err)
	})
}
