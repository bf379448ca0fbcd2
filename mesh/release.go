package mesh

import (
	"context"
	"fmt"
	"slices"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/gossip"
	"github.com/sgkandale/sharelock/mesh/member"
	"github.com/sgkandale/sharelock/ring"
)

// outdated ends this process because the mesh uses what this program does not know (W3):
// whatever it did from now on, the others would do otherwise.
func (n *Node) outdated(err error) {
	err = fmt.Errorf("this program is too old for the mesh: %w", err)
	n.log.Error("ending", "error", err)
	n.end(err)
}

// retire ends this process in good order because a partition's log or a copy has what this
// program does not know (W3). Its other copies are good, and may be the last: it hands them
// over first, and the others go on without it.
func (n *Node) retire(err error) {
	n.retired.Do(func() {
		err = fmt.Errorf("this program is too old for the mesh: %w", err)
		n.log.Error("leaving the mesh and ending", "error", err)
		n.tasks.Go(func() {
			ctx, cancel := context.WithTimeout(n.ctx, member.LeaveTime)
			defer cancel()
			n.member.Leave(ctx)
			last, done := context.WithTimeout(n.ctx, n.lease())
			defer done()
			n.member.GiveUp(last)
			n.end(err)
		})
	})
}

// fits refuses a view that this program does not understand (W2, W3), and notes in the data
// directory what the view may have others write there.
func (n *Node) fits(v ring.View) error {
	if err := n.program().Check(v.Release); err != nil {
		err = fmt.Errorf("view %d: %w", v.Epoch, err)
		n.outdated(err)
		return err
	}
	if err := n.data.RaiseRelease(v.Release); err != nil {
		// A program of a lower release is refused by Raft's records and by the mesh, too.
		n.log.Error("cannot write the required release to the data directory", "release", v.Release, "error", err)
	}
	return nil
}

// program is the range of releases that this program works with.
func (n *Node) program() release.Range { return n.hooks.Releases.OrOwn() }

// ownRelease is the highest release that this process lets a view have (W1).
func (n *Node) ownRelease() uint32 {
	newest := n.program().Newest
	if hold := n.cfg.HoldRelease; hold > 0 {
		return min(hold, newest)
	}
	return newest
}

// firstRelease is that of a cluster that is born now: what all that are there work with.
func (n *Node) firstRelease() uint32 {
	return lowestOf(append(n.nearbyReleases(), n.ownRelease()), n.program().Oldest)
}

// lowestOf returns the lowest of some releases, but not less than the oldest that this program
// works with.
func lowestOf(list []uint32, oldest uint32) uint32 { return max(slices.Min(list), oldest) }

// nearbyReleases are the releases of the live processes that are in the mesh or may be on
// their way into it, as gossip knows them. Who could not be admitted is none of them.
func (n *Node) nearbyReleases() []uint32 {
	if a := n.views.Now(); a != nil {
		return releasesOf(n.gossip.Processes(), a.Release)
	}
	return releasesOf(n.gossip.Processes(), 0)
}

// releasesOf returns the newest releases of those processes that work with a view's release,
// which is 0 while there is no view.
func releasesOf(list []gossip.Process, ofView uint32) (newest []uint32) {
	for _, g := range list {
		r := release.Range{Oldest: g.Meta.GetOldestRelease(), Newest: g.Meta.GetRelease()}
		if ofView == 0 || r.Has(ofView) {
			newest = append(newest, r.Newest)
		}
	}
	return newest
}
