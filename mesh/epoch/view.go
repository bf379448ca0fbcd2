package epoch

import (
	"slices"

	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// View is an installed view with everything that follows from it. It is immutable; a newer view is
// a new View.
type View struct {
	ring.View
	// State is the agreed state whose newest view this is.
	State view.State
	Ring  *ring.Ring
	// Service runs this member's partitions. It is the same in all views of a process.
	Service *owner.Service
}

// Constants returns the constants of the cluster.
func (v *View) Constants() view.Constants { return v.State.Constants() }

// Partition returns the partition of a key.
func (v *View) Partition(key string) uint32 { return v.Ring.Partition(key) }

// Has reports whether a process is a member.
func (v *View) Has(id ring.Identity) bool {
	_, in := v.Find(id)
	return in
}

// Named returns the member whose Identity has this text.
func (v *View) Named(identity string) (ring.Member, bool) {
	for _, m := range v.Members {
		if m.Identity.String() == identity {
			return m, true
		}
	}
	return ring.Member{}, false
}

// Leaving reports whether a process is a member that is marked leaving (V6a, V7).
func (v *View) Leaving(id ring.Identity) bool {
	m, in := v.Find(id)
	return in && m.Leaving
}

// MarkedSince returns the epoch of the first of the views in which a leaving member has been marked
// without interruption.
func (v *View) MarkedSince(id ring.Identity) uint32 {
	since := v.Epoch
	for _, older := range slices.Backward(v.State.History.Views) {
		if m, in := older.Find(id); !in || !m.Leaving {
			break
		}
		since = older.Epoch
	}
	return since
}
