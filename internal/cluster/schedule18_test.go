package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// safeBuffer collects the log.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// fill acquires locks of one partition until it has its maximum size (Q6).
func fill(ctx context.Context, t *testing.T, cl *client.Client, partition uint32) []*client.Lock {
	t.Helper()
	data := map[string]string{"data": strings.Repeat("x", sharelock.MaxMetadataBytes-4)}
	var locks []*client.Lock
	for i := 0; ; i++ {
		key := fmt.Sprint("big/", i)
		if ring.PartitionOf(key, 8) != partition {
			continue
		}
		l, err := cl.Acquire(ctx, key, client.Metadata(data))
		if errors.Is(err, sharelock.ErrQuota) {
			return locks
		}
		must(t, err)
		locks = append(locks, l)
	}
}

// Schedule 18: a partition of the largest size that the bounds allow moves, under load, by a join,
// by a leave and by a crash, while a link breaks. Nobody complains about a member, nobody loses a
// lease or a lock, and other partitions do not wait for the move. Messages are delayed, so that the
// move takes longer than the time after which members complain (V6).
func TestSchedule18BigCopies(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var logs safeBuffer
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, Nodes: 3, MaxTTL: time.Minute, Logs: &logs, Configure: func(_ int, cfg *mesh.Config) { cfg.Partitions = 8 }})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		t.Cleanup(cancel)
		big := "big"
		holder := dial(ctx, t, c, "holder")
		locks := fill(ctx, t, holder, ring.PartitionOf(big, 8))
		if size := len(locks) * sharelock.MaxMetadataBytes; size < owner.DefaultBounds.Bytes/2 {
			t.Fatalf("%d locks filled the partition", len(locks))
		}
		before := len(logs.String())
		slow := cluster.Messages{From: cluster.Anyone, To: cluster.Anyone, Kinds: []cluster.Kind{cluster.Fetch, cluster.FetchAnswer, cluster.Sync, cluster.SyncAnswer}}
		late := c.DelayMessages(slow, 10*time.Millisecond, 15*time.Millisecond)
		up := []int{0, 1, 2}
		moves := func(what string, longest time.Duration, move func()) {
			t.Helper()
			nodes := slices.DeleteFunc(slices.Clone(up), func(i int) bool { return i == c.Owner(big) })
			// Other clients work during the move.
			done := make(chan struct{})
			var worst time.Duration
			var wg sync.WaitGroup
			wg.Go(func() {
				cl := dial(ctx, t, c, "others", nodes...)
				for {
					select {
					case <-done:
						return
					default:
					}
					for _, key := range keysNamed("small", 8) {
						if ring.PartitionOf(key, 8) == ring.PartitionOf(big, 8) {
							continue
						}
						began := time.Now()
						l, err := cl.Acquire(ctx, key, client.Wait(time.Minute))
						if err != nil {
							t.Errorf("%s: others: %v", what, err)
							return
						}
						worst = max(worst, time.Since(began))
						if err := l.Release(ctx); err != nil {
							t.Errorf("%s: others: %v", what, err)
						}
						pause(ctx, 5*time.Millisecond)
					}
				}
			})
			wg.Go(func() { // a link breaks during the move
				pause(ctx, time.Second)
				for i := range c.Len() {
					for j := range i {
						c.Reset(i, j)
					}
				}
			})
			move()
			must(t, c.WaitReady(ctx))
			pause(ctx, 5*time.Second)
			close(done)
			wg.Wait()
			if worst > longest {
				t.Errorf("%s: others waited for %v, want %v at most", what, worst, longest)
			}
			for _, l := range locks {
				if l.Err() != nil {
					t.Fatalf("%s: %s is lost: %v", what, l.Key(), l.Err())
				}
			}
		}
		moves("join", 2*time.Second, func() {
			joined, err := c.Add(ctx)
			must(t, err)
			up = append(up, joined)
			must(t, c.WaitMembers(ctx, 4))
		})
		moves("leave", 2*time.Second, func() {
			gone := c.Owner(big)
			up = slices.DeleteFunc(up, func(i int) bool { return i == gone })
			must(t, c.Stop(ctx, gone))
			must(t, c.WaitMembers(ctx, 3))
		})
		moves("crash", 6*time.Second, func() {
			c.Kill(c.Owner(big))
			must(t, c.WaitMembers(ctx, 2))
		})
		late.End()
		// One view for each move, and one that removes the member that left: nobody complained, and no lease
		// was missed.
		views := 0
		for line := range strings.Lines(logs.String()[before:]) {
			if strings.Contains(line, `msg="new view"`) {
				views++
			}
			if strings.Contains(line, "state lost") {
				t.Errorf("logged: %s", line)
			}
		}
		if views != 4 {
			t.Errorf("there were %d views, want 4", views)
		}
		must(t, holder.Close())
	})
}
