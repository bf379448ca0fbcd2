package workload

import (
	"maps"
	"time"
)

// Result is what a run has measured. "sharelock bench -o json" prints it; durations are in
// nanoseconds.
type Result struct {
	// Measured is how long was measured: Options.Duration, or less if the run was ended early.
	Measured time.Duration `json:"measuredNs"`
	// Pairs is how many locks were acquired and released in that time.
	Pairs          int64   `json:"pairs"`
	PairsPerSecond float64 `json:"pairsPerSecond"`
	// Acquire is the time from when an acquire was due to its grant. Without a rate it is due
	// when it is sent.
	Acquire Latency `json:"acquire"`
	// Sent is the time from sending an acquire to its grant; only with a rate.
	Sent *Latency `json:"acquireFromSend,omitempty"`
	// Release is the duration of the release call.
	Release Latency `json:"release"`
	// HandOver is the time from the beginning of a release to the grant of a worker that was
	// already waiting; only if there were any.
	HandOver *Latency `json:"handOver,omitempty"`
	Fairness Fairness `json:"fairness"`
	// Unsent is how many acquires were due but not sent by the end, because no worker was free.
	// They count in Acquire with the time that they have waited until then.
	Unsent uint64 `json:"unsent"`
	// Errors is how many calls failed, by kind. They count in no latency.
	Errors map[string]uint64 `json:"errors"`
}

// Latency sums up a histogram.
type Latency struct {
	Count uint64        `json:"count"`
	Mean  time.Duration `json:"meanNs"`
	P50   time.Duration `json:"p50Ns"`
	P90   time.Duration `json:"p90Ns"`
	P99   time.Duration `json:"p99Ns"`
	P999  time.Duration `json:"p999Ns"`
	Max   time.Duration `json:"maxNs"`
}

// Fairness compares the numbers of pairs of the workers.
type Fairness struct {
	Busiest int64 `json:"busiest"`
	Laziest int64 `json:"laziest"`
	// Jain is Jain's index: 1 if all workers made the same number, 1/workers if one made all.
	Jain float64 `json:"jain"`
}

// Ratio returns the busiest worker's pairs for each of the laziest's, or 0 if that made none.
func (f Fairness) Ratio() float64 {
	if f.Laziest == 0 {
		return 0
	}
	return float64(f.Busiest) / float64(f.Laziest)
}

// Failed returns the number of failed calls.
func (r *Result) Failed() uint64 {
	var n uint64
	for c := range maps.Values(r.Errors) {
		n += c
	}
	return n
}

// result sums up the run, which was stopped at stopped.
func (r *run) result(stopped time.Duration) *Result {
	res := &Result{
		Measured: max(stopped-r.Warmup, 0),
		Acquire:  r.acquire.latency(), Release: r.release.latency(),
		Unsent: r.unsent.Load(), Errors: r.errors,
	}
	if r.Rate > 0 {
		sent := r.service.latency()
		res.Sent = &sent
	}
	if l := r.handOver.latency(); l.Count > 0 {
		res.HandOver = &l
	}
	counts := make([]int64, len(r.pairs))
	for i := range r.pairs {
		counts[i] = r.pairs[i].Load()
		res.Pairs += counts[i]
	}
	if res.Measured > 0 {
		res.PairsPerSecond = float64(res.Pairs) / res.Measured.Seconds()
	}
	res.Fairness = fairness(counts)
	return res
}

func (h *Histogram) latency() Latency {
	return Latency{
		Count: h.Count(), Mean: h.Mean(),
		P50: h.Quantile(0.5), P90: h.Quantile(0.9), P99: h.Quantile(0.99), P999: h.Quantile(0.999), Max: h.Max(),
	}
}

func fairness(counts []int64) Fairness {
	f := Fairness{Busiest: counts[0], Laziest: counts[0]}
	var sum, squares float64
	for _, c := range counts {
		f.Busiest, f.Laziest = max(f.Busiest, c), min(f.Laziest, c)
		sum += float64(c)
		squares += float64(c) * float64(c)
	}
	if squares > 0 {
		f.Jain = sum * sum / (float64(len(counts)) * squares)
	}
	return f
}
