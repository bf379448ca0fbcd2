package metrics

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Every duration is counted in the native bucket and in the classic buckets whose bounds contain it.
func TestHistogramBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		near := rapid.Custom(func(t *rapid.T) time.Duration {
			b := rapid.SampledFrom(Bounds[:]).Draw(t, "bound")
			return time.Duration(b*1e9) + time.Duration(rapid.IntRange(-2, 2).Draw(t, "off"))
		})
		d := rapid.OneOf(near, rapid.Map(rapid.Int64Range(0, 1<<54), func(n int64) time.Duration { return time.Duration(n) })).Draw(t, "d")
		var h Histogram
		h.Observe(d)
		if h.Count() != 1 || h.Sum() != float64(d)/1e9 {
			t.Fatalf("%v: count %d, sum %v", d, h.Count(), h.Sum())
		}
		seconds := float64(d) / 1e9
		for i, n := range h.Classic() {
			if (n == 1) != (seconds <= Bounds[i]) {
				t.Fatalf("%v: %d not above %v", d, n, Bounds[i])
			}
		}
		found := 0
		zero := h.Native(func(index int, n uint64) {
			found++
			low, high := math.Pow(2, float64(index-1)/perOctave), math.Pow(2, float64(index)/perOctave)
			if n != 1 || seconds > high*(1+1e-12) || seconds <= low*(1-1e-12) {
				t.Fatalf("%v is in bucket %d, (%v, %v]", d, index, low, high)
			}
		})
		if isZero := seconds <= ZeroThreshold; (zero == 1) != isZero || (found == 1) == isZero {
			t.Fatalf("%v: %d counted as zero, %d as more", d, zero, found)
		}
	})
}

// Two classic bounds in one native bucket could not be distinguished.
func TestHistogramBounds(t *testing.T) {
	for i, b := range Bounds {
		if n := nativeOf(largest(b)); splits[n] != largest(b) || i > 0 && nativeOf(largest(Bounds[i-1])) == n {
			t.Errorf("the bound %v shares its native bucket with another", b)
		}
	}
}

func TestHistogramAdd(t *testing.T) {
	var a, b Histogram
	b.Add(&a)
	if b.bins != nil || b.Count() != 0 || b.Classic()[0] != 0 || b.Quantile(1) != 0 {
		t.Error("an empty histogram has something")
	}
	a.Observe(time.Second)
	a.Observe(-time.Second)
	a.Observe(1 << 40)
	b.Observe(time.Millisecond)
	b.Add(&a)
	if a.Count() != 3 || b.Count() != 4 || b.Sum() != float64(1001*time.Millisecond+1<<40)/1e9 {
		t.Errorf("%d and %d, in all %v", a.Count(), b.Count(), b.Sum())
	}
	a.Observe(1 << 62) // longer than all bounds
	if n := a.Classic()[len(Bounds)-1]; a.Count() != 4 || n != 3 {
		t.Errorf("%d of %d are below the last bound", n, a.Count())
	}
	if q := b.Quantile(0.75); q != time.Second {
		t.Errorf("three of four are not above %v", q)
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	var h Histogram
	h.Observe(0)
	d := time.Microsecond
	if n := testing.AllocsPerRun(1000, func() { h.Observe(d); d *= 3 }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	var h Histogram
	d := time.Duration(12345)
	for b.Loop() {
		h.Observe(d)
		d = d * 7 & (1<<40 - 1)
	}
}
