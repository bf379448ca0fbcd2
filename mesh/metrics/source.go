package metrics

import (
	"time"

	"github.com/sgkandale/sharelock/internal/metrics"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/owner"
)

// A Source says where the numbers of a node are. A field that is nil has none; its metrics are then
// 0 or, if they have labels, absent. The functions are called at each scrape, from any goroutine.
type Source struct {
	// Owner returns what the node has counted as an owner; false before its first view.
	Owner func() (owner.Stats, *owner.Totals, bool)
	// Member returns how the node is a member.
	Member func() Member
	// Sessions returns the number of open sessions. It is called before Calls are read.
	Sessions func() int
	Calls    *metrics.Calls
	// Links returns numbers about the links to other members, by name.
	Links func() map[string]link.Stats
	// Complaints returns how often this member has complained, by the name of the other.
	Complaints func() map[string]uint64
	// ViewChanges returns the number of installed views by reason.
	ViewChanges func() map[string]uint64

	WatchStreams func() int
	WatchResets  func() uint64
	// AuthFailures returns the number of refusals by reason.
	AuthFailures func() map[string]uint64
	AuditDropped func() uint64
	// Certificates returns when the certificates of this node expire, by what they are for.
	Certificates func() map[string]time.Time
	// Reloads returns the number of reloads.
	Reloads func() map[Reload]uint64
}

// A Reload is what was reloaded, and with which result.
type Reload struct {
	What string
	OK   bool
}

// Member is how a node is a member of the mesh.
type Member struct {
	Ready, Leader   bool
	LeaseRemaining  time.Duration
	Epoch           uint32
	Members, Voters int
	// Copies is how many copies there should be of each partition, Placed how many the view has
	// placed.
	Copies, Placed int
}

// value returns what a function returns, or the zero value if there is none.
func value[T any](fn func() T) (v T) {
	if fn != nil {
		v = fn()
	}
	return v
}
