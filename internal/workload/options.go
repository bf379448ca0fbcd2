package workload

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// maxRate is more than a process can send.
const maxRate = 10_000_000

// Locker takes locks. It is used by one worker at a time, if it was given to one
// worker only.
type Locker interface {
	// Acquire waits in line for the key's lock; ctx ends at the end of the run.
	Acquire(ctx context.Context, key string) (Held, error)
}

// Held is a lock that was taken.
type Held interface {
	Release(ctx context.Context) error
}

// Options say what the workers do.
type Options struct {
	// Workers is how many take locks at the same time.
	Workers int
	// Keys is how many keys they choose from, each time anew; with 0 every worker has
	// one of its own.
	Keys int
	// Contention is the share of the acquires, 0 to 1, that go to one more key, the
	// same for all.
	Contention float64
	// Shared says that several workers may hold a key together; then there is no
	// hand-over to measure.
	Shared bool
	// Prefix begins every key.
	Prefix string
	// Hold is how long a lock is held.
	Hold time.Duration
	// Warmup comes before Duration and is not measured.
	Warmup, Duration time.Duration
	// Rate is how many acquires are due in a second, of all workers together; 0 means
	// as many as they can do.
	Rate float64
	// Kind names an error in [Result.Errors]; nil takes its text.
	Kind func(error) string
	// Progress is told of the run every second, if it is set.
	Progress func(Progress)
}

// Progress is how a run goes.
type Progress struct {
	// Elapsed is how much of Total, the warm-up included, is over.
	Elapsed, Total time.Duration
	// Warmup: nothing is measured yet.
	Warmup bool
	// PairsPerSecond is of the last second, the warm-up included.
	PairsPerSecond float64
	// P50 and P99 are of all measured acquires so far, and Errors their number.
	P50, P99 time.Duration
	Errors   uint64
}

// Validate reports everything that is wrong.
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

// keys makes the names of all keys. The last one is that of the contention.
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
