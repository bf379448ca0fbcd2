package workload

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/internal/intconv"
)

const (
	// subBits is the resolution: every power of two has 2^subBits buckets. A value that is read is
	// the middle of a bucket, which is off by at most 0.4 %.
	subBits = 7
	// topBits bounds the range: 2^topBits ns are 73 minutes.
	topBits = 42
	buckets = (topBits - subBits + 1) << subBits
)

// Histogram counts durations in buckets whose width grows with the duration. The
// zero value is empty. It is safe for concurrent use.
type Histogram struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Int64
	max    atomic.Int64
}

// Record counts one duration; a negative one counts as 0.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))].Add(1)
	h.sum.Add(int64(d))
	for {
		top := h.max.Load()
		if int64(d) <= top || h.max.CompareAndSwap(top, int64(d)) {
			return
		}
	}
}

// Count returns the number of durations.
func (h *Histogram) Count() uint64 {
	var n uint64
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// Mean returns the exact mean, or 0 if there are no durations.
func (h *Histogram) Mean() time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	return time.Duration(h.sum.Load() / intconv.Signed(n))
}

// Max returns the longest duration, exactly.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max.Load()) }

// Quantile returns the duration that the fraction q of all does not exceed, or 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(n))), 1)
	for i := range h.counts {
		c := h.counts[i].Load()
		if c >= rank {
			return min(middle(i), h.Max())
		}
		rank -= c
	}
	return h.Max()
}

// bucket returns the number of a duration's bucket: below 2^(subBits+1) ns the duration
// itself; above, its first subBits+1 bits, after the buckets of all shorter durations.
func bucket(ns uint64) int {
	e := max(bits.Len64(ns)-(subBits+1), 0)
	return min(e<<subBits+intconv.Int(ns>>e), buckets-1)
}

// middle returns the middle of a bucket.
func middle(i int) time.Duration {
	if i < 2<<subBits {
		return time.Duration(i)
	}
	e := i>>subBits - 1
	low := uint64(max(i-e<<subBits, 0)) << e
	return time.Duration(intconv.Signed(low + uint64(1)<<e/2))
}
