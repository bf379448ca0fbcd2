package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/session"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// The defaults of Retry.
const (
	defaultFirstPause   = 10 * time.Millisecond
	defaultLongestPause = time.Second
)

// Retry says how a call goes on when a node could not serve it: for how many attempts,
// with which pauses, and how long at most. Each field has a default for 0, so the zero
// value is ready to use. A negative field is an error of [Dial], a *[sharelock.Error]
// that names it.
//
// An attempt is one send to one node. Forwarding between nodes does not count as an attempt, nor does a node's
// repetition of an acquire that waits in a queue.
//
// None of this applies to keeping a held lock alive: that goes on at the client's own
// pace for as long as the lock can be saved. Nor does it apply to what ends an acquire
// that was given up (see the package).
type Retry struct {
	// Attempts is the most attempts of one call; 1 never repeats it. When they have all
	// failed so does the call, with [ErrUnreachable], an Acquire however long its Wait is.
	// 0 is no limit: Options.Patience ends the call, which it also does when attempts are
	// left. An acquire that waited in line for longer than 13 s when its node was lost
	// begins a new count with that attempt. Dial makes one attempt for each of its
	// addresses in any case.
	Attempts int
	// FirstPause is the pause after all addresses have been tried once. It doubles with every further
	// round, up to LongestPause, which also bounds a pause that a node asks for. Each pause is shortened at
	// random, by a half at most, so that clients that failed together do not retry together. 0 is 10 ms and
	// 1 s, adjusted to the other one if that is set. FirstPause must not be longer than LongestPause.
	FirstPause, LongestPause time.Duration
	// Timeout is how long one call may take with all its attempts and pauses, as if its
	// context had this timeout, too: the call fails with [context.DeadlineExceeded], and
	// with the last node's answer if one had failed. The time that an Acquire waits in line
	// counts, however long its Wait is. 0 is none.
	Timeout time.Duration
}

// check finds everything that is wrong.
func (r Retry) check() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Retry.Attempts", int64(r.Attempts)},
		{"Retry.FirstPause", int64(r.FirstPause)},
		{"Retry.LongestPause", int64(r.LongestPause)},
		{"Retry.Timeout", int64(r.Timeout)},
	} {
		if f.value < 0 {
			errs = append(errs, sharelock.Invalid(f.name, "is negative"))
		}
	}
	if len(errs) == 0 && r.LongestPause != 0 && r.FirstPause > r.LongestPause {
		errs = append(errs, sharelock.Invalid("Retry.FirstPause", fmt.Sprintf("%v is longer than Retry.LongestPause, %v", r.FirstPause, r.LongestPause)))
	}
	return errors.Join(errs...)
}

func (r Retry) withDefaults() Retry {
	switch {
	case r.FirstPause == 0 && r.LongestPause == 0:
		r.FirstPause, r.LongestPause = defaultFirstPause, defaultLongestPause
	case r.FirstPause == 0:
		r.FirstPause = min(defaultFirstPause, r.LongestPause)
	case r.LongestPause == 0:
		r.LongestPause = max(defaultLongestPause, r.FirstPause)
	}
	return r
}

var (
	// errAttempts: the call has failed as often as Retry.Attempts lets it.
	errAttempts = errors.New("no attempt is left")
	// errTimeout: the call has taken as long as Retry.Timeout lets it.
	errTimeout = fmt.Errorf("%w: the client's Retry.Timeout has passed", context.DeadlineExceeded)
	// errPaused: too much time has passed since the last attempt for a request id.
	errPaused = errors.New("the pause before the next attempt was too long")
)

// because adds the last failure of a call to the error of the client's own timeout. The error of a caller's
// context is returned as it is.
func because(err, last error) error {
	if last == nil || !errors.Is(err, errTimeout) {
		return err
	}
	return fmt.Errorf("%w: %w", err, last)
}

// failures counts the failed attempts of one call, and decides how it goes on.
type failures struct {
	retry    Retry
	patience time.Duration
	// connect is the longest that an attempt takes to reach a node.
	connect time.Duration
	// round is the number of addresses.
	round int
	b     bounds

	// row is the number of failures since a node last answered, attempts the number that Retry.Attempts limits.
	row, attempts int
	giveUp        time.Duration
	pauses        pauses
	last          error
}

// add records the failure, at now, of an attempt that was sent at sent. It returns the pause before the next
// attempt, which may be 0, or an error if there is to be none.
func (f *failures) add(err error, sent, now time.Duration) (wait time.Duration, _ error) {
	f.last = err
	if now-sent > unseen {
		f.row = 0 // the node was alive until recently
		if f.b.waits {
			f.attempts = 0
		}
	}
	if f.row++; f.row == 1 {
		f.pauses = pauses{f.retry.FirstPause, f.retry.LongestPause}
		f.giveUp = now + f.patience
		if now-sent < f.connect*3/2 {
			f.giveUp = sent + f.patience // the node was not reachable when the attempt began
		}
		f.giveUp = max(f.giveUp, f.b.until)
		if f.b.hard {
			f.giveUp = f.b.until
		}
	}
	f.attempts++
	if most := f.retry.Attempts; most > 0 && f.attempts >= max(most, f.b.attempts) {
		return 0, fmt.Errorf("%w: %w: %w", ErrUnreachable, errAttempts, err)
	}
	if now >= f.giveUp && errors.Is(err, errTooSlow) {
		return 0, err
	}
	if now >= f.giveUp {
		return 0, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if f.row%f.round != 0 {
		return 0, nil
	}
	return min(f.pauses.after(err), f.giveUp-now+time.Millisecond), nil
}

// pauses computes the pauses between the rounds of a call.
type pauses struct {
	// next is the next pause, before jitter.
	next, longest time.Duration
}

// after returns the pause after this error.
func (p *pauses) after(err error) time.Duration {
	d := p.next
	if p.next = p.longest; d < p.longest/2 {
		p.next = 2 * d
	}
	return max(session.Jitter(d), min(sharelockv1.RetryAfter(err), p.longest))
}
