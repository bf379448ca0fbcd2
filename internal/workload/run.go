package workload

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// drainTime is how long the calls of a run with a fixed rate may continue at its end, so that
	// what was due is answered. Without a rate that would add nothing.
	drainTime = 5 * time.Second
	// releaseTime is how much longer the releases of the last locks may take.
	releaseTime = 5 * time.Second
	// errorPause is the pause after a failed call, so that a service that refuses everything is
	// not overloaded.
	errorPause = 10 * time.Millisecond
	// noAnswer is the kind of the acquires that were given up at the end.
	noAnswer = "no answer by the end"
	// After maxKinds kinds of errors, further ones, which may differ in a detail, count as otherKinds.
	maxKinds   = 20
	otherKinds = "others"
)

// Run drives the lockers, one for each worker, and measures. It ends after [Options.Warmup] and
// [Options.Duration], or with ctx; then the result covers what was measured until then. The error
// concerns the options only.
func Run(ctx context.Context, locker func(worker int) Locker, o Options) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Kind == nil {
		o.Kind = error.Error
	}
	lockers := make([]Locker, o.Workers)
	for i := range lockers {
		lockers[i] = locker(i) // may take its time: the clock does not run yet
	}
	r := &run{
		Options: o, keys: o.keys(), start: time.Now(), pairs: make([]count, o.Workers),
		errors: make(map[string]uint64),
	}
	r.released = make([]count, len(r.keys))
	// The contexts have no deadlines: a client might pass one on, and the service might answer early.
	var endCalls, endSends, endReleases context.CancelFunc
	r.calls, endCalls = context.WithCancel(ctx)
	defer endCalls()
	r.sends, endSends = context.WithCancel(r.calls)
	defer endSends()
	// One context for all releases: creating one for each would be measured with it.
	r.releases, endReleases = context.WithCancel(context.WithoutCancel(ctx))
	defer endReleases()
	var workers, reporter sync.WaitGroup
	for i, l := range lockers {
		workers.Go(func() { r.work(i, l) })
	}
	done := make(chan struct{})
	reporter.Go(func() { r.report(done) })
	pause(ctx, r.end()-r.now())
	stopped := min(r.now(), r.end())
	endSends()
	if o.Rate == 0 {
		endCalls()
	}
	giveUp := time.AfterFunc(drainTime, endCalls)
	defer giveUp.Stop()
	// Locks that are held when the acquires end are still released.
	lastRelease := time.AfterFunc(drainTime+releaseTime, endReleases)
	defer lastRelease.Stop()
	workers.Wait()
	close(done)
	reporter.Wait()
	return r.result(stopped), nil
}

// run is one run. All its times count from its start.
type run struct {
	Options
	keys  []string
	start time.Time
	// Acquires begin until sends ends, and are cancelled with calls; releases ends a while later.
	sends, calls, releases context.Context //nolint:containedctx // lifetimes of the run

	// due is how many acquires were taken from the schedule.
	due atomic.Int64
	// done counts all pairs, including those of the warm-up, for the progress.
	done atomic.Uint64
	// acquire counts from the moment an acquire was due; the others count from the call.
	acquire, service, release, handOver Histogram
	unsent                              atomic.Uint64
	// pairs holds the number of measured pairs, by worker.
	pairs []count
	// released holds when the last release of each key began.
	released []count

	mu     sync.Mutex
	errors map[string]uint64 // by kind; guarded by mu
}

// count is a number in a cache line of its own.
type count struct {
	atomic.Int64
	_ [56]byte
}

func (r *run) now() time.Duration { return time.Since(r.start) }
func (r *run) end() time.Duration { return r.Warmup + r.Duration }

// measured reports whether a moment is in the measured time.
func (r *run) measured(at time.Duration) bool { return at >= r.Warmup && at < r.end() }

func (r *run) work(worker int, l Locker) {
	random := rand.New(rand.NewPCG(uint64(worker), 1)) //nolint:gosec // the same choices in every run
	for due, ok := r.next(); ok; due, ok = r.next() {
		if err := r.pair(worker, l, r.pick(worker, random), due); err != nil {
			pause(r.sends, errorPause)
		}
	}
}

// next waits until the worker's next acquire is due, and returns when it was due.
func (r *run) next() (due time.Duration, ok bool) {
	if r.Rate == 0 {
		return r.now(), r.sends.Err() == nil
	}
	for {
		due = time.Duration(float64(r.due.Add(1)-1) / r.Rate * float64(time.Second))
		pause(r.sends, due-r.now())
		if r.sends.Err() == nil {
			return due, due < r.end()
		}
		now := min(r.now(), r.end())
		if due >= now {
			return due, false
		}
		// No worker was free for it: it has waited at least until now.
		if r.measured(due) {
			r.unsent.Add(1)
			r.acquire.Record(now - due)
		}
	}
}

// pick returns the index of a key.
func (r *run) pick(worker int, random *rand.Rand) int {
	switch {
	case r.Contention > 0 && random.Float64() < r.Contention:
		return len(r.keys) - 1
	case r.Keys == 0:
		return worker
	default:
		return random.IntN(r.Keys)
	}
}

// pair acquires a lock that was due at due, holds it and releases it.
func (r *run) pair(worker int, l Locker, key int, due time.Duration) error {
	sent := r.now()
	held, err := l.Acquire(r.calls, r.keys[key])
	granted := r.now()
	switch {
	case err == nil:
	case r.calls.Err() == nil:
		r.failed(r.Kind(err), granted)
		return err
	default: // the run is over
		if r.Rate > 0 && r.measured(due) {
			r.acquire.Record(granted - due)
			r.failed(noAnswer, due)
		}
		return err
	}
	freed := time.Duration(r.released[key].Load())
	pause(r.calls, r.Hold)
	releasing := r.now()
	r.released[key].Store(int64(releasing))
	err = held.Release(r.releases)
	done := r.now()
	if err != nil {
		r.failed(r.Kind(err), done)
		return err
	}
	r.done.Add(1)
	// With a rate, all acquires that were due are counted, including those that took too long.
	if r.measured(done) && r.Rate == 0 || r.measured(due) && r.Rate > 0 {
		r.acquire.Record(granted - due)
	}
	if !r.measured(done) {
		return nil
	}
	r.pairs[worker].Add(1)
	r.service.Record(granted - sent)
	r.release.Record(done - releasing)
	// The acquire was sent before the release began, so it was waiting.
	if freed > sent && !r.Shared {
		r.handOver.Record(granted - freed)
	}
	return nil
}

// failed counts an error that happened at at.
func (r *run) failed(kind string, at time.Duration) {
	if r.measured(at) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if _, known := r.errors[kind]; !known && len(r.errors) >= maxKinds {
			kind = otherKinds
		}
		r.errors[kind]++
	}
}

func (r *run) failures() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var n uint64
	for _, c := range r.errors {
		n += c
	}
	return n
}

// report calls Progress every second.
func (r *run) report(stop <-chan struct{}) {
	if r.Progress == nil {
		return
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var before uint64
	var last time.Duration
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		now, done := r.now(), r.done.Load()
		r.Progress(Progress{
			Elapsed: min(now, r.end()), Total: r.end(), Warmup: now < r.Warmup,
			PairsPerSecond: float64(done-before) / (now - last).Seconds(),
			P50:            r.acquire.Quantile(0.5), P99: r.acquire.Quantile(0.99), Errors: r.failures(),
		})
		before, last = done, now
	}
}

// pause blocks for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
