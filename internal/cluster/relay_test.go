package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
	"github.com/sgkandale/sharelock/ring"
)

// V6a: what the chosen member of a cut pair holds reaches the other one through the leader, also if it
// is many MiB.
func TestSimManyMiBThroughTheLeader(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const partitions, many = 64, 4000 // locks of 2 KiB
		c := cluster.Start(inRAM(t), cluster.Options{
			Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax,
			Configure: func(i int, cfg *mesh.Config) {
				copies(1)(i, cfg)
				cfg.Partitions = partitions
			},
		})
		ctx := patient(t)
		must(t, c.WaitMembers(ctx, 3))
		role := roles(c)
		stays, goes := role[1], role[2] // V6 chooses, of a pair, the member that joined last
		p := movesTo(t, c, partitions, goes, stays)
		holder := outside(ctx, t, c, "holder")
		locks := holdLarge(ctx, t, holder, p, partitions, many)
		c.Cut(stays, goes)
		c.Cut(goes, stays)
		// The cut is noticed by a call that one of the two forwards to the other.
		l, err := c.Client(stays).Acquire(ctx, keyOf(p, partitions, many), client.Wait(time.Minute))
		must(t, err)
		must(t, l.Release(ctx))
		until(ctx, t, "the chosen one is out", func() bool { return len(members(c, role[0])) == 2 })
		must(t, c.WaitAmong(ctx, role[0], stays))
		if owner := c.Owner(locks[0].Key()); owner != stays {
			t.Errorf("node %d owns the large partition, want %d", owner, stays)
		}
		wantKept(ctx, t, holder, locks)
	})
}

// movesTo returns a partition that node from owns, and that node to owns when from is off the ring.
func movesTo(t *testing.T, c *cluster.Cluster, partitions uint32, from, to int) uint32 {
	t.Helper()
	v := ring.View{Epoch: 1, Replicas: 1, Placement: ring.Placement}
	for _, m := range c.Node(from).Status().Members {
		v.Members = append(v.Members, ring.Member{Identity: ring.Identity{ID: m.ID}, Name: m.Name, Leaving: m.Name == c.Name(from)})
	}
	after, err := ring.Build(v, int(partitions))
	must(t, err)
	for p := range partitions {
		if m, _ := after.Owner(p); c.Owner(keyOf(p, partitions, 0)) == from && m.Name == c.Name(to) {
			return p
		}
	}
	t.Fatalf("no partition moves from node %d to %d", from, to)
	return 0
}

// keyOf returns the i-th key of a partition.
func keyOf(partition, partitions uint32, i int) string {
	for n := 0; ; n++ {
		key := fmt.Sprint("large/", n)
		if ring.PartitionOf(key, partitions) == partition {
			if i--; i < 0 {
				return key
			}
		}
	}
}

// holdLarge acquires n locks of a partition with the maximum metadata.
func holdLarge(ctx context.Context, t *testing.T, cl *client.Client, partition, partitions uint32, n int) []*client.Lock {
	t.Helper()
	data := map[string]string{"data": strings.Repeat("x", sharelock.MaxMetadataBytes-4)}
	locks := make([]*client.Lock, n)
	var wg sync.WaitGroup
	for i, next := 0, 0; i < n; next++ {
		key := fmt.Sprint("large/", next)
		if ring.PartitionOf(key, partitions) != partition {
			continue
		}
		at := i
		wg.Go(func() {
			l, err := cl.Acquire(ctx, key, client.TTL(sceneMax), client.Metadata(data))
			if err != nil {
				t.Errorf("acquire %s: %v", key, err)
			}
			locks[at] = l
		})
		i++
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return locks
}
