package view

import (
	"time"

	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// epochZero is the time from which epochs count seconds.
var epochZero = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// maxSeconds is the limit of the seconds in a proposal; larger values are ignored, so that an epoch
// always fits into 31 bits (protocol, "epoch"). Even a clock that is wrong by decades leaves room
// for a million further views.
const maxSeconds = 1<<31 - 1<<20

// State is what Raft agrees on: the cluster's constants and its last views. A State that was passed
// on is never changed.
type State struct {
	// Cluster is nil before the cluster is founded.
	Cluster *peerv1.Cluster
	History ring.History
	// extra is what the next release adds, in builds that act as the next release (tag
	// release_next).
	extra extra
}

// View returns the current view, or the zero View before the cluster is founded.
func (s State) View() ring.View { return s.History.Current() }

// Epoch returns the epoch of the current view.
func (s State) Epoch() uint32 { return s.View().Epoch }

// Constants returns what was fixed when the cluster was founded.
func (s State) Constants() Constants { return Constants{s.Cluster} }

// nextEpoch returns max(prev + 1, seconds), or prev + 1 if seconds is out of range.
func nextEpoch(prev uint32, seconds uint64) uint32 {
	if seconds < maxSeconds {
		return max(prev+1, uint32(seconds))
	}
	return prev + 1
}

// Constants are what was fixed when the cluster was founded.
type Constants struct{ *peerv1.Cluster }

// Lease returns L, the length of a view lease.
func (c Constants) Lease() time.Duration { return time.Duration(c.GetLeaseNs()) }

// MaxTTL returns the maximum TTL of a lock.
func (c Constants) MaxTTL() time.Duration { return time.Duration(c.GetMaxTtlNs()) }

// Partitions returns the number of partitions.
func (c Constants) Partitions() int { return int(c.Cluster.GetPartitions()) }
