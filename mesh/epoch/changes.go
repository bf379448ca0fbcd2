package epoch

import (
	"maps"

	"github.com/sgkandale/sharelock/ring"
)

// The reasons by which changes of the view are counted.
const (
	ChangeFirst    = "first"    // the first view that this process acts in
	ChangeJoined   = "joined"   // a process has joined
	ChangeLeft     = "left"     // a member that was leaving has gone
	ChangeRemoved  = "removed"  // a member that was not leaving has gone
	ChangeLeaving  = "leaving"  // a member leaves
	ChangeMarked   = "marked"   // a member was marked because of broken pairs (V6a)
	ChangeUnmarked = "unmarked" // such a mark was removed
	ChangeRelease  = "release"  // the release has risen (W1)
	ChangeEpoch    = "epoch"    // only the epoch is new, because a partition needed one (G2)
)

// Changes lists all reasons.
var Changes = []string{
	ChangeFirst, ChangeJoined, ChangeLeft, ChangeRemoved, ChangeLeaving, ChangeMarked, ChangeUnmarked, ChangeRelease, ChangeEpoch,
}

// changesOf returns how a view differs from the one before, each reason once.
func changesOf(old *View, v ring.View) map[string]bool {
	if old == nil {
		return map[string]bool{ChangeFirst: true}
	}
	why := map[string]bool{}
	for _, m := range v.Members {
		before, in := old.Find(m.Identity)
		switch {
		case !in:
			why[ChangeJoined] = true
		case m.Leaving && !before.Leaving && m.Evicted:
			why[ChangeMarked] = true
		case m.Leaving && !before.Leaving:
			why[ChangeLeaving] = true
		case !m.Leaving && before.Leaving:
			why[ChangeUnmarked] = true
		}
	}
	for _, m := range old.Members {
		if _, in := v.Find(m.Identity); !in && m.Leaving {
			why[ChangeLeft] = true
		} else if !in {
			why[ChangeRemoved] = true
		}
	}
	if v.Release > old.Release {
		why[ChangeRelease] = true
	}
	if len(why) == 0 {
		why[ChangeEpoch] = true
	}
	return why
}

// Counts returns how many views were installed, by the reasons why they differ from the view
// before. A view may have several reasons.
func (v *Views) Counts() map[string]uint64 {
	v.changedMu.Lock()
	defer v.changedMu.Unlock()
	return maps.Clone(v.counts)
}

// count counts a view that is being installed.
func (v *Views) count(old *View, next ring.View) {
	v.changedMu.Lock()
	defer v.changedMu.Unlock()
	for why := range changesOf(old, next) {
		v.counts[why]++
	}
}
