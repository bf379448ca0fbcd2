//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
)

// How long a view change stops grants while many locks are held, when a node joins. The test prints two
// figures, because a partition whose replica set stays the same has to wait only for the handshake
// (section 4).
func TestProcessesViewChange(t *testing.T) {
	for _, nodes := range []int{3, 5} {
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) { viewChange(t, nodes, pick(2000, 100_000)) })
	}
}

func viewChange(t *testing.T, nodes, held int) {
	r := newRehearsal(t, nodes, "")
	var ps []*proc
	for i := range nodes {
		ps = append(ps, r.start(i))
	}
	r.await("the nodes are one mesh", 20*time.Second, func() bool { return r.together(ps...) })
	ctx := context.Background()
	cl := r.client(ps...)
	defer cl.Close() //nolint:errcheck // the nodes end before it
	holdMany(ctx, t, cl, held)

	probes := make([]string, 64)
	for i := range probes {
		probes[i] = fmt.Sprint("probe/", i)
	}
	before := places(ctx, t, cl, probes)
	var (
		load    sync.WaitGroup
		stopped = make(chan struct{})
		granted = make([][]time.Time, len(probes))
	)
	for i, key := range probes {
		load.Go(func() {
			for {
				select {
				case <-stopped:
					return
				default:
				}
				l, err := cl.Acquire(ctx, key)
				if err == nil {
					granted[i] = append(granted[i], time.Now())
					err = l.Release(ctx)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(pick(200*time.Millisecond, 2*time.Second)) // time for the load
	changed := time.Now()
	ps = append(ps, r.start(nodes))
	r.await("the new node takes part", 20*time.Second, func() bool { return r.together(ps...) })
	time.Sleep(pick(200*time.Millisecond, 2*time.Second))
	close(stopped)
	load.Wait()

	after := places(ctx, t, cl, probes)
	var same, moved []time.Duration
	for i := range probes {
		gap := longestPause(granted[i], changed)
		if before[i] == after[i] {
			same = append(same, gap)
		} else {
			moved = append(moved, gap)
		}
	}
	if len(same) == 0 || len(moved) == 0 {
		t.Errorf("of %d keys %d have moved", len(probes), len(moved))
	}
	t.Logf("%d nodes and one more, %d locks held: keys whose replica set stayed: %v; others: %v", nodes, held, spread(same), spread(moved))
}

// holdMany acquires locks and keeps them until their client is closed.
func holdMany(ctx context.Context, t *testing.T, cl *client.Client, n int) {
	t.Helper()
	const workers = 256
	var work sync.WaitGroup
	for w := range workers {
		work.Go(func() {
			for i := w; i < n; i += workers {
				if _, err := cl.Acquire(ctx, fmt.Sprint("held/", i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// places returns the replica set of each key.
func places(ctx context.Context, t *testing.T, cl *client.Client, keys []string) []string {
	t.Helper()
	list := make([]string, len(keys))
	for i, key := range keys {
		loc, err := cl.Locate(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		list[i] = loc.Owner + " " + strings.Join(loc.Backups, " ")
	}
	return list
}

// longestPause returns the longest time between two neighbours that ended after a time.
func longestPause(at []time.Time, after time.Time) (most time.Duration) {
	for i := 1; i < len(at); i++ {
		if at[i].After(after) {
			most = max(most, at[i].Sub(at[i-1]))
		}
	}
	return most
}

// spread returns the median and the maximum of some times.
func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "none"
	}
	slices.Sort(d)
	return fmt.Sprintf("median %v, longest %v (of %d)", d[len(d)/2].Round(100*time.Microsecond), d[len(d)-1].Round(100*time.Microsecond), len(d))
}
