package workload

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogramError(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 200_000 {
		d := time.Duration(math.Exp(r.Float64() * math.Log(float64(time.Hour))))
		if i < 2000 {
			d = time.Duration(i)
		}
		var h Histogram
		h.max.Store(math.MaxInt64) // or the middle would be cut to it
		got := middle(bucket(uint64(d)))
		if off := math.Abs(float64(got-d)) / max(float64(d), 1); off > 0.005 {
			t.Fatalf("%d ns is read as %d ns: off by %.2f %%", d, got, 100*off)
		}
	}
}

func TestHistogramBucketsInOrder(t *testing.T) {
	last := 0
	for e := range 63 {
		for _, add := range []uint64{0, 1} {
			for _, ns := range []uint64{1<<e - 1 + add, 1<<e + 1<<e/3 + add} {
				if b := bucket(ns); b < last && ns > 1<<e {
					t.Fatalf("bucket(%d) = %d, below %d of a shorter duration", ns, b, last)
				} else {
					last = max(last, b)
				}
			}
		}
	}
	if last != buckets-1 {
		t.Errorf("the longest duration is in bucket %d, want the last, %d", last, buckets-1)
	}
}

func TestHistogramQuantiles(t *testing.T) {
	tests := []struct {
		name string
		of   func(r *rand.Rand) time.Duration
	}{
		{"one value", func(*rand.Rand) time.Duration { return 1234567 }},
		{"even", func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(int64(time.Second))) }},
		{"long tail", func(r *rand.Rand) time.Duration { return time.Duration(1e5 * math.Exp(2*r.NormFloat64())) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 4))
			var h Histogram
			all := make([]time.Duration, 100_001)
			var sum time.Duration
			for i := range all {
				all[i] = tt.of(r)
				sum += all[i]
				h.Record(all[i])
			}
			slices.Sort(all)
			for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
				want := all[max(int(math.Ceil(q*float64(len(all))))-1, 0)]
				got := h.Quantile(q)
				if math.Abs(float64(got-want)) > 0.01*float64(want) {
					t.Errorf("quantile %v: got %v, want %v within 1 %%", q, got, want)
				}
			}
			if got, want := h.Max(), all[len(all)-1]; got != want {
				t.Errorf("max: got %v, want %v", got, want)
			}
			if got, want := h.Mean(), sum/time.Duration(len(all)); got != want {
				t.Errorf("mean: got %v, want %v", got, want)
			}
			if got := h.Count(); got != uint64(len(all)) {
				t.Errorf("count: got %d, want %d", got, len(all))
			}
		})
	}
}

func TestHistogramEdges(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Mean() != 0 || h.Max() != 0 {
		t.Error("an empty histogram is not all 0")
	}
	var few Histogram
	for d := range time.Duration(3) {
		few.Record(d + 1)
	}
	if got := few.Quantile(0.5); got != 2 {
		t.Errorf("the median of 1, 2 and 3 ns: got %v", got)
	}
	h.Record(-time.Second)
	h.Record(math.MaxInt64)
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("a negative duration: got %v, want 0", got)
	}
	if got := h.Quantile(1); got < time.Hour {
		t.Errorf("a duration off the scale: got %v, want the top of the scale", got)
	}
}
