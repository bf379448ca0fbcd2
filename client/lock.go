package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/session"
	"github.com/sgkandale/sharelock/internal/rules"
)

// Lock is a lock that this client holds, until [Lock.Done] closes. Its methods
// are safe for concurrent use.
type Lock struct {
	keeper *keeper
	key    string
	token  sharelock.Token
	// sentOnce: exactly one acquire was ever sent with this request id.
	sentOnce bool

	// The rest is guarded by keeper.mu. All times are the client's clock.

	// noRenew: the client does not renew it. frozen: nothing does, see control.
	noRenew, frozen bool

	// done is nil until somebody asks for it.
	done chan struct{}

	hold sharelock.Hold
	// asked is the TTL that the program gave to Renew last; 0 if it gave none. Renewals name it, since the
	// owner may still have a longer one: a shorter one takes effect when less than that is left.
	asked time.Duration
	// Q3: deadline = the send of the newest request that was answered + its
	// safe_for. It never moves back.
	deadline time.Duration
	// last is when it has been held for as long as it may be, which no renewal changes; 0 is
	// never.
	last time.Duration
	// renewAt is when the next renewal is due, warnAt when Context ends.
	renewAt, warnAt time.Duration
	// stopRenewal is set while a renewal is under way.
	stopRenewal context.CancelFunc
	// at is where it is kept alive; alone: it is renewed by itself next time, whether a
	// session could keep it or not.
	at    session.Attachment
	alone bool
	// denied is the newest answer to a renewal if nodes refuse to do it for this client.
	denied error
	// err is why the lock ended; nil while it is held.
	err error
	// warned: the contexts have been ended, for now.
	warned   bool
	contexts map[*context.CancelCauseFunc]struct{}
	// index in the keeper's heap, -1 when not there; next is its order.
	index int
	next  time.Duration

	// busy: somebody releases, who alone may use releasing and released; freed, if
	// somebody else waits for that, is closed at its end.
	busy      bool
	freed     chan struct{}
	releasing *releasing
	released  bool
}

// Key returns the key that is locked.
func (l *Lock) Key() string { return l.key }

// Token returns the fencing token, which is larger than that of every earlier grant of the key. Pass
// it to the resource with every write.
func (l *Lock) Token() sharelock.Token { return l.token }

// Hold returns the lock as the last answer described it. ExpiresIn and SafeFor count from that
// answer; [Lock.Remaining] counts from now.
func (l *Lock) Hold() sharelock.Hold {
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	return l.hold
}

// Done returns a channel that is closed when the lock can no longer be trusted: it was lost, its TTL
// has run out by the client's conservative clock, it was held for the maximum time, it was released,
// or the client was closed. [Lock.Err] returns which.
//
// After the machine was suspended, Done may close up to a second late. Remaining is correct at once.
func (l *Lock) Done() <-chan struct{} {
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{}) // of a lock that lives: its end sets it
	}
	return l.done
}

// Err returns the reason why Done is closed, which wraps [ErrLost], [ErrReleased] or [ErrClosed]. It
// returns nil while the lock is held.
func (l *Lock) Err() error {
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	return l.err
}

// Remaining returns how long the lock can be trusted from now on if no further renewal is answered;
// 0 if it has ended. It reads the clock and does not rely on a timer.
func (l *Lock) Remaining() time.Duration {
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	if l.err != nil {
		return 0
	}
	return max(l.deadline-l.keeper.c.now(), 0)
}

// Context returns a context for work under the lock. It ends when parent ends, when Done closes, and
// a tenth of the TTL before the lock would be lost because its renewals go unanswered, so that the
// work has time to stop. [context.Cause] returns the reason, which wraps the error that Err would
// return. Call cancel when the work is done.
func (l *Lock) Context(parent context.Context) (ctx context.Context, cancel context.CancelFunc) {
	ctx, end := context.WithCancelCause(parent)
	k := l.keeper
	k.mu.Lock()
	err := l.err
	if err == nil && l.warned {
		err = l.expiring()
	}
	if err == nil {
		if l.contexts == nil {
			l.contexts = map[*context.CancelCauseFunc]struct{}{}
		}
		l.contexts[&end] = struct{}{}
	}
	k.mu.Unlock()
	if err != nil {
		end(err)
	}
	return ctx, func() {
		k.mu.Lock()
		delete(l.contexts, &end)
		k.mu.Unlock()
		end(context.Canceled)
	}
}

// expiring is why contexts end before the deadline. keeper.mu is held.
func (l *Lock) expiring() error { return fmt.Errorf("%w, or about to be: %w", ErrLost, l.overdue()) }

// Release releases the lock. The client counts it as released from the start of the call. If no node
// can be reached, Release fails and may be called again; otherwise the lock ends with its TTL.
// Releasing a lock twice is harmless.
//
// If ctx has already ended, the lock is released all the same, which takes 3 s at most: defer
// l.Release(ctx) may use the context of the work. If ctx ends during the call, Release returns its
// error, and the client continues in the background until the lock must have ended by itself;
// [Client.Close] waits for that.
//
// Release of a lock that was lost returns an error that wraps [ErrLost]: the work done under it may
// have overlapped with that of another holder.
func (l *Lock) Release(ctx context.Context) error {
	err := l.release(ctx)
	return named("release", l.key, err)
}

func (l *Lock) release(ctx context.Context) error {
	c := l.keeper.c
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	b := bounds{life: c.cleanup}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), backTime)
		defer cancel()
	}
	if err := l.seize(ctx, b); err != nil {
		return err
	}
	handedOn := false
	defer func() {
		if !handedOn {
			l.free()
		}
	}()
	b.began = c.now()
	why := l.keeper.endAt(b.began, l, ErrReleased)
	lost := errors.Is(why, ErrLost)
	if l.released || lost && !ranOut(why) {
		// Released already, or the owner has said that it holds nothing.
		return lossOf(why)
	}
	if l.releasing == nil {
		l.releasing = &releasing{key: l.key, token: l.token, sentOnce: l.sentOnce, brief: true}
	}
	// A lock that ran out here may still be held there: the next in line need not
	// wait for that.
	_, err := c.release(ctx, b, l.releasing)
	if err == nil || lost && gone(err) {
		l.released = true
		return lossOf(why)
	}
	if ctx.Err() != nil {
		handedOn = true
		c.work.Go(l.giveBack) // enter counted this call, so Close has not stopped waiting
	}
	return errors.Join(lossOf(why), err)
}

// giveBack goes on with a release whose caller waits no longer. It has the turn of seize.
func (l *Lock) giveBack() {
	defer l.free()
	c := l.keeper.c
	// The mesh may be away for longer than the caller was: its nodes agree on who is in.
	_, err := c.release(c.cleanup, bounds{until: c.now() + rules.Stretch(l.Hold().TTL), hard: true}, l.releasing)
	if err != nil && !gone(err) {
		c.log.warn("release given up without an answer", "key", l.key, "token", l.token, "err", err)
		return
	}
	l.released = true
	c.gaveBack.Add(1)
}

// seize waits until nobody else releases the lock.
func (l *Lock) seize(ctx context.Context, b bounds) error {
	for {
		l.keeper.mu.Lock()
		if !l.busy {
			l.busy = true
			l.keeper.mu.Unlock()
			return nil
		}
		if l.freed == nil {
			l.freed = make(chan struct{})
		}
		freed := l.freed
		l.keeper.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return b.ended(ctx)
		case <-b.over():
			return b.ended(ctx)
		}
	}
}

func (l *Lock) free() {
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	l.busy = false
	if l.freed != nil {
		close(l.freed)
		l.freed = nil
	}
}

// lossOf is err if it tells of a loss.
func lossOf(err error) error {
	if errors.Is(err, ErrLost) {
		return err
	}
	return nil
}
