package workload

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// maxRate is above what a process can send.
const maxRate = 10_000_000

// Locker acquires locks. Only one worker uses it at a time, if it was given to only one worker.
type Locker interface {
	// Acquire waits in the queue for the key's lock. ctx ends at the end of the run.
	Acquire(ctx context.Context, key string) (Held, error)
}

// Held is a lock that is held.
type Held interface {
	Release(ctx context.Context) error
}

// Options configure the workers.
type Options struct {
	// Workers is how many workers acquire locks at the same time.
	Workers int
	// Keys is the number of keys, of which a worker chooses one for each acquire; with 0 every
	// worker has a key of its own.
	Keys int
	// Contention is the fraction of the acquires, 0 to 1, that go to one more key, the same for
	// all workers.
	Contention float64
	// Shared means that several workers may hold a key together; then no hand-over is measured.
	Shared bool
	// Prefix is the prefix of every key.
	Prefix string
	// Hold is how long a lock is held.
	Hold time.Duration
	// Warmup comes before Duration and is not measured.
	Warmup, Duration time.Duration
	// Rate is how many acquires are due in a second, for all workers together; 0 means as many
	// as the workers can make.
	Rate float64
	// Kind names an error in [Result.Errors]; nil uses its text.
	Kind func(error) string
	// Progress, if it is set, is called every second.
	Progress func(Progress)
}

// Progress is the state of a run.
type Progress struct {
	// Elapsed is how much of Total is over; both include the warm-up.
	Elapsed, Total time.Duration
	// Warmup is set while nothing is measured yet.
	Warmup bool
	// PairsPerSecond is the rate in the last second, also during the warm-up.
	PairsPerSecond float64
	// P50 and P99 are the latencies of all measured acquires so far, Errors the number of failed ones.
	P50, P99 time.Duration
	Errors   uint64
}

// Validate reports everything that is wrong with the options.
func (o Options) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(o.Workers < 1, "workers: want 1 or more, got %d", o.Workers)
	bad(o.Keys < 0, "keys: %d is negative", o.Keys)
	bad(!(o.Contention >= 0 && o.Contention <= 1), "contention: want 0 to 1, got %v", o.Contention)
	bad(o.Hold < 0, "hold: %v is negative", o.Hold)
	bad(o.Warmup < 0, "warmup: %v is negative", o.Warmup)
	bad(o.Duration <= 0, "duration: %v is not positive", o.Duration)
	bad(!(o.Rate >= 0 && o.Rate <= maxRate), "rate: want 0 to %v, got %v", maxRate, o.Rate)
	return errors.Join(errs...)
}

// keys returns the names of all keys. The last one is the key of the contention.
func (o Options) keys() []string {
	n := o.Keys
	if n == 0 {
		n = o.Workers
	}
	keys := make([]string, 0, n+1)
	for i := range n {
		keys = append(keys, fmt.Sprintf("%s%d", o.Prefix, i))
	}
	return append(keys, o.Prefix+"hot")
}
