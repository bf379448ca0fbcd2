package metrics

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/sgkandale/sharelock/internal/intconv"
)

// Bounds are the upper bounds of the classic buckets, in seconds.
var Bounds = [...]float64{
	0.00001, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
	1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 86400,
}

// Schema is the resolution of the native buckets: each power of two is divided into perOctave
// buckets, so a bound is 9 % above the one before.
const (
	Schema    = 3
	perOctave = 1 << Schema
)

// The native buckets cover the values above 2^least seconds, about a microsecond, up to 2^most
// seconds, about a year. Bucket i of them, from 1, ends at 2^(least + i/perOctave) seconds. A smaller
// value counts as zero, a larger one as the largest.
const (
	least   = -20
	most    = 25
	natives = (most - least) * perOctave
)

// ZeroThreshold is the largest value, in seconds, that counts as zero.
const ZeroThreshold = 1.0 / (1 << -least)

// bins is the number of bins. Every native bucket, and the zero bucket, has two: one for the values
// up to the classic bound in it and one for those above, so that a bin is part of one bucket of
// either kind.
const bins = 2 * (natives + 1)

// A Histogram counts durations. The zero value is empty. It is not safe for concurrent use.
type Histogram struct {
	// sum is in nanoseconds. A million locks that are held add up to more than a time.Duration can
	// represent within hours.
	sum float64
	// bins is allocated with the first observation.
	bins *[bins]uint64
}

// Observe counts one duration. A negative one counts as 0.
func (h *Histogram) Observe(d time.Duration) {
	if h.bins == nil {
		h.bins = new([bins]uint64)
	}
	d = max(d, 0)
	h.bins[binOf(d)]++
	h.sum += float64(d)
}

// Add adds what another histogram has counted.
func (h *Histogram) Add(o *Histogram) {
	if o.bins == nil {
		return
	}
	if h.bins == nil {
		h.bins = new([bins]uint64)
	}
	for i, n := range o.bins {
		h.bins[i] += n
	}
	h.sum += o.sum
}

// Count returns how many durations were counted.
func (h *Histogram) Count() (n uint64) {
	if h.bins != nil {
		for _, b := range h.bins {
			n += b
		}
	}
	return n
}

// Sum returns the sum of the durations in seconds.
func (h *Histogram) Sum() float64 { return h.sum / 1e9 }

// Classic returns for each of Bounds how many durations are not above it.
func (h *Histogram) Classic() (cumulative [len(Bounds)]uint64) {
	if h.bins == nil {
		return cumulative
	}
	n, at := uint64(0), 0
	for i, b := range h.bins {
		for at < len(Bounds) && firstBin[at] == i {
			cumulative[at] = n
			at++
		}
		n += b
	}
	return cumulative
}

// Native calls bucket for each native bucket that is not empty, in their order, with its index as
// Prometheus numbers them, and returns how many durations count as zero.
func (h *Histogram) Native(bucket func(index int, n uint64)) (zero uint64) {
	if h.bins == nil {
		return 0
	}
	for i := 1; i <= natives; i++ {
		if n := h.bins[2*i] + h.bins[2*i+1]; n > 0 {
			bucket(least*perOctave+i, n)
		}
	}
	return h.bins[0] + h.bins[1]
}

var (
	// ends holds for each native bucket, and for the zero bucket, the largest duration in it.
	ends = func() (e [natives + 1]time.Duration) {
		for i := range e {
			e[i] = largest(math.Pow(2, least+float64(i)/perOctave))
		}
		e[natives] = math.MaxInt64
		return e
	}()
	// splits holds for each native bucket the largest duration that is not above the classic bound in
	// it. Without such a bound, all durations count as not above it.
	splits = func() (s [natives + 1]time.Duration) {
		for i := range s {
			s[i] = math.MaxInt64
		}
		for _, b := range Bounds {
			s[nativeOf(largest(b))] = largest(b)
		}
		return s
	}()
	// firstBin holds for each classic bound the first bin above it.
	firstBin = func() (f [len(Bounds)]int) {
		for i, b := range Bounds {
			f[i] = 2*nativeOf(largest(b)) + 1
		}
		return f
	}()
	// starts holds for the leading bits of a duration the first native bucket in which it may be.
	starts = func() (s [64 << Schema]uint16) {
		for i := range s {
			length, rest := uint(i>>Schema), uint64(i&(perOctave-1))
			if length > Schema { // the smallest duration with these bits
				from := time.Duration((1<<Schema | rest) << (length - 1 - Schema))
				for ends[s[i]] < from {
					s[i]++
				}
			}
		}
		return s
	}()
)

// largest returns the largest duration that is not longer than seconds.
func largest(seconds float64) time.Duration {
	d := time.Duration(math.Round(seconds * 1e9))
	for float64(d)/1e9 > seconds {
		d--
	}
	return d
}

// nativeOf returns the native bucket of a duration, or 0 for the zero bucket. It is called for every
// call and every decision.
func nativeOf(d time.Duration) int {
	length := uint(bits.Len64(intconv.Bits(d)))
	i := 0
	if length > Schema {
		i = int(starts[(length<<Schema|uint(intconv.Bits(d))>>(length-1-Schema)&(perOctave-1))&(64<<Schema-1)])
	}
	for d > ends[i] {
		i++
	}
	return i
}

func binOf(d time.Duration) int {
	if d == 0 {
		return 0
	}
	i := nativeOf(d)
	if d > splits[i] {
		return 2*i + 1
	}
	return 2 * i
}

// Quantile returns approximately the q-quantile of the durations, or 0 if there are none. It is for
// tests and texts; Prometheus computes its own.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(h.Count())))
	if rank == 0 {
		return 0
	}
	n := uint64(0)
	i := slices.IndexFunc(h.bins[:], func(b uint64) bool {
		n += b
		return n >= rank
	})
	return time.Duration(1e9 * math.Pow(2, least+float64(i/2)/perOctave))
}
