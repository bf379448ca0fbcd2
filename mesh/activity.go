package mesh

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/peer"
	"github.com/sgkandale/sharelock/ring"
)

// activityRelease is the first release whose members answer for their activity.
const activityRelease = 2

// errOldRelease is the error of members of a mesh whose release is below activityRelease.
var errOldRelease = errors.New("the mesh runs a release that does not count this; upgrade all nodes")

// Activity implements api.Mesh: it asks every member of the view at once.
func (n *Node) Activity(ctx context.Context, contended int) ([]sharelock.Activity, error) {
	a := n.views.Now()
	if a == nil {
		return nil, n.Ready()
	}
	ctx, cancel := context.WithTimeout(ctx, n.lease())
	defer cancel()
	list := make([]sharelock.Activity, len(a.Members))
	var wg sync.WaitGroup
	for i, m := range a.Members {
		wg.Go(func() {
			var err error
			if list[i], err = n.activityOf(ctx, a, m, contended); err != nil {
				list[i] = sharelock.Activity{Name: m.Name, Err: err.Error()}
			}
		})
	}
	wg.Wait()
	keepLongest(list, contended)
	return list, nil
}

// keepLongest keeps the contended keys of all members together that are waited for longest, at most
// limit, so that the answer of a large mesh still fits into a message.
func keepLongest(list []sharelock.Activity, limit int) {
	type wait struct {
		lasts  time.Duration
		member int
	}
	var waits []wait
	for i, a := range list {
		for _, c := range a.Contended {
			waits = append(waits, wait{c.LongestWait, i})
		}
	}
	slices.SortStableFunc(waits, func(a, b wait) int { return cmp.Compare(b.lasts, a.lasts) })
	keep := make([]int, len(list))
	for _, w := range waits[:min(len(waits), limit)] {
		keep[w.member]++
	}
	for i := range list {
		list[i].Contended = list[i].Contended[:keep[i]]
	}
}

func (n *Node) activityOf(ctx context.Context, a *epoch.View, m ring.Member, contended int) (sharelock.Activity, error) {
	switch {
	case m.Identity == n.self:
		return peer.ActivityOf(a, m.Name, contended), nil
	case !a.Supports(activityRelease):
		return sharelock.Activity{}, errOldRelease
	}
	return n.peers.Activity(ctx, m, contended)
}
