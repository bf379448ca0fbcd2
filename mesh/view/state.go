package view

import (
	"time"

	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// epochZero is where the seconds in epochs are counted from.
var epochZero = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// maxSeconds: seconds from here on are ignored, so that an epoch always fits 31
// bits (protocol, "epoch"): a clock that is wrong by decades leaves room for a
// million further views.
const maxSeconds = 1<<31 - 1<<20

// State is what Raft agrees on: the cluster's constants and its last views. It is
// a value; nobody changes one that was handed on.
type State struct {
	// Cluster is nil before the cluster is born.
	Cluster *peerv1.Cluster
	History ring.History
	// extra is what the next release adds, in programs that stand for it (tag release_next).
	extra extra
}

// View is the current view, the zero one before the cluster is born.
func (s State) View() ring.View { return s.History.Current() }

// Epoch is that of the current view.
func (s State) Epoch() uint32 { return s.View().Epoch }

// Constants are what was fixed at the cluster's birth.
func (s State) Constants() Constants { return Constants{s.Cluster} }

// nextEpoch is max(previous + 1, seconds), seconds being ignored when they are
// out of range.
func nextEpoch(prev uint32, seconds uint64) uint32 {
	if seconds < maxSeconds {
		return max(prev+1, uint32(seconds))
	}
	return prev + 1
}

// Constants reads what is fixed at the cluster's birth.
type Constants struct{ *peerv1.Cluster }

// Lease is the length of a view lease, L.
func (c Constants) Lease() time.Duration { return time.Duration(c.GetLeaseNs()) }

// MaxTTL is the longest TTL of a lock.
func (c Constants) MaxTTL() time.Duration { return time.Duration(c.GetMaxTtlNs()) }

// Partitions is their number.
func (c Constants) Partitions() int { return int(c.Cluster.GetPartitions()) }
