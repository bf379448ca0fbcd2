package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"runtime/pprof"
	"strings"
	"time"
)

// leaks finds the goroutines that belong to one cluster. They, and the goroutines that they
// start, carry a profiler label, so other tests may run at the same time.
type leaks struct {
	id string
	// patience is how long goroutines may take to end after the cluster has ended. memberlist
	// and gRPC do not wait for all of theirs.
	patience time.Duration
}

const leakLabel = "testcluster"

// newLeaks is for a cluster with leases of this length. A node's gossip probes others every
// quarter of a lease. A process that hears nobody waits up to eight times as long for the
// answer to a probe, even after it has been shut down.
func newLeaks(lease time.Duration) leaks {
	return leaks{id: rand.Text(), patience: 5*time.Second + 8*lease/4}
}

// watch runs f. The goroutines that f starts belong to the cluster.
func (l leaks) watch(ctx context.Context, f func(ctx context.Context) error) error {
	var err error
	pprof.Do(ctx, pprof.Labels(leakLabel, l.id), func(ctx context.Context) { err = f(ctx) })
	return err
}

// left returns the stacks of the goroutines that did not end in time, or "".
func (l leaks) left() string {
	deadline := time.NewTimer(l.patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		stacks := l.stacks()
		if stacks == "" {
			return ""
		}
		select {
		case <-deadline.C:
			return stacks
		case <-tick.C:
		}
	}
}

// stacks returns the stacks of the goroutines that exist now.
func (l leaks) stacks() string {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return err.Error() // cannot happen: a buffer accepts all writes
	}
	var ours []string
	for group := range strings.SplitSeq(b.String(), "\n\n") {
		if strings.Contains(group, l.id) {
			ours = append(ours, group)
		}
	}
	return strings.Join(ours, "\n\n")
}
