package workload

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// drainTime is how long the calls of a run at a fixed rate may go on at its end: what
	// was due is to be answered. Without a rate there is nothing left to learn.
	drainTime = 5 * time.Second
	// releaseTime is how much longer the release of what is held then may take.
	releaseTime = 5 * time.Second
	// errorPause comes after a failed call, so that a service which refuses
	// everything is not hammered.
	errorPause = 10 * time.Millisecond
	// noAnswer is the kind of the acquires that were given up at the end.
	noAnswer = "no answer by the end"
	// Errors of more kinds than maxKinds, which differ in a detail, are otherKinds.
	maxKinds   = 20
	otherKinds = "others"
)

// Run drives the lockers, one for each worker, and measures. It ends after
// [Options.Warmup] and [Options.Duration], or with ctx: then the result is of what
// was measured until then. The error is one of the options.
func Run(ctx context.Context, locker func(worker int) Locker, o Options) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Kind == nil {
		o.Kind = error.Error
	}
	lockers := make([]Locker, o.Workers)
	for i := range lockers {
		lockers[i] = locker(i) // it may take its time: the clock does not run yet
	}
	r := &run{
		Options: o, keys: o.keys(), start: time.Now(), pairs: make([]count, o.Workers),
		errors: make(map[string]uint64),
	}
	r.released = make([]count, len(r.keys))
	// They have no deadlines: a client might pass those on, and the service answer early.
	var endCalls, endSends, endReleases context.CancelFunc
	r.calls, endCalls = context.WithCancel(ctx)
	defer endCalls()
	r.sends, endSends = context.WithCancel(r.calls)
	defer endSends()
	// One for all: a context for each release would be measured with it.
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
	// What is held when the acquires end is still released.
	lastRelease := time.AfterFunc(drainTime+releaseTime, endReleases)
	defer lastRelease.Stop()
	workers.Wait()
	close(done)
	reporter.Wait()
	return r.result(stopped), nil
}

// run is one run. All times in it count from its start.
type run struct {
	Options
	keys  []string
	start time.Time
	// Acquires are begun until sends ends, and end with calls; releases end a while later.
	sends, calls, releases context.Context //nolint:containedctx // lifetimes of the run

	// due is how many acquires were taken from the schedule.
	due atomic.Int64
	// done are all pairs, the warm-up's too, for the progress.
	done atomic.Uint64
	// acquire counts from the moment an acquire was due; the others from the call.
	acquire, service, release, handOver Histogram
	unsent                              atomic.Uint64
	// pairs are the measured ones, by worker.
	pairs []count
	// released is when the last release of each key began.
	released []count

	mu     sync.Mutex
	errors map[string]uint64 // by kind; guarded by mu
}

// count is a number with a cache line to itself.
type count struct {
	atomic.Int64
	_ [56]byte
}

func (r *run) now() time.Duration { return time.Since(r.start) }
func (r *run) end() time.Duration { return r.Warmup + r.Duration }

// measured tells whether a moment is one that counts.
func (r *run) measured(at time.Duration) bool { return at >= r.Warmup && at < r.end() }

func (r *run) work(worker int, l Locker) {
	random := rand.New(rand.NewPCG(uint64(worker), 1)) //nolint:gosec // the same choices in every run
	for due, ok := r.next(); ok; due, ok = r.next() {
		if err := r.pair(worker, l, r.pick(worker, random), due); err != nil {
			pause(r.sends, errorPause)
		}
	}
}

// next waits until the worker's next acquire is due, and tells since when it is.
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
		// Nobody was free for it: it has waited at least until now.
		if r.measured(due) {
			r.unsent.Add(1)
			r.acquire.Record(now - due)
		}
	}
}

// pick chooses a key.
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

// pair takes a lock that was due at a moment, holds it and gives it back.
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
	// At a rate all that were due are to be seen, also those that took too long.
	if r.measured(done) && r.Rate == 0 || r.measured(due) && r.Rate > 0 {
		r.acquire.Record(granted - due)
	}
	if !r.measured(done) {
		return nil
	}
	r.pairs[worker].Add(1)
	r.service.Record(granted - sent)
	r.release.Record(done - releasing)
	// It was asked for before the release began: it stood in line.
	if freed > sent && !r.Shared {
		r.handOver.Record(granted - freed)
	}
	return nil
}

// failed counts an error of a moment.
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

// report tells of the progress every second.
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

// pause waits, or until ctx ends.
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
