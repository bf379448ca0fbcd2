package main

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
)

// checkTime is how long CMD stays stopped at most while the owner is asked whether the lock
// is still held. Without an answer the client's clock decides, as ever.
const checkTime = time.Second

// heldLock is what guard needs of a client.Lock.
type heldLock interface {
	Check(ctx context.Context) error
	Done() <-chan struct{}
	Err() error
	Remaining() time.Duration
}

// process is CMD and its process group.
type process interface {
	// exited is closed when CMD itself has ended.
	exited() <-chan struct{}
	// stopped says by which signal CMD was stopped.
	stopped() <-chan syscall.Signal
	// control are the signals of job control that this process gets.
	control() <-chan os.Signal
	// follow and pass do what job control asks for when CMD was stopped, and when this
	// process got one of its signals. They may stop this process, and return what is next.
	follow(sig syscall.Signal) step
	pass(sig os.Signal) step
	resume()
	// allow says for how long CMD may run though nobody should say it again, and
	// returns that.
	allow(remaining func() time.Duration) time.Duration
	// signal sends a signal to the whole group.
	signal(sig syscall.Signal)
	// finish waits for what remains of CMD and returns how it ended. With kill set
	// nothing of the group survives.
	finish(kill bool) ending
}

// step is what is to be done after something of job control.
type step int

const (
	carryOn step = iota
	// resumeCMD: CMD is to resume if it still may run.
	resumeCMD
	// checkLock: the same, but this process was stopped meanwhile, and may not have heard
	// that the lock was taken away.
	checkLock
)

// ending is how CMD ended.
type ending struct {
	code int
	// by is the signal that ended it, 0 if none did.
	by syscall.Signal
	// err is why it could not be run.
	err error
	// killed: the sentinel did it, because the lock could be lost.
	killed bool
	// shared: that signal was for everybody at the terminal.
	shared bool
}

// times are the distances from the moment at which the lock can be lost, by the
// client's clock, which is a tenth of the TTL before the owner's.
type times struct {
	// term before that CMD is asked to end, kill before that it is ended.
	term, kill time.Duration
	// taken is how long CMD may take to end when the lock was taken away: somebody
	// else may have it already.
	taken time.Duration
	// look is how often the clock is read whatever the timers say: they stop while
	// the machine is suspended.
	look time.Duration
}

func timesOf(ttl time.Duration) times {
	return times{
		term:  min(ttl/4, 5*time.Second),
		kill:  min(ttl/20, 250*time.Millisecond),
		taken: min(ttl/10, time.Second),
		look:  time.Second,
	}
}

// guard waits for CMD, passes signals on, and ends CMD's whole group before the
// lock can be lost. It reports whether that was so.
//
// Renewals are the client's business. As each extends the lock from the moment it
// was sent (Q3), so are these times counted from there.
func guard(l heldLock, p process, signals <-chan os.Signal, t times) (lost bool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for then := carryOn; ; {
		if then == checkLock {
			check(l)
		}
		left := p.allow(l.Remaining) - t.term
		if left <= 0 {
			break
		}
		if then != carryOn {
			p.resume()
			then = carryOn
		}
		timer.Reset(min(left, t.look))
		select {
		case <-p.exited():
			return false
		case sig := <-p.stopped():
			then = p.follow(sig)
		case sig := <-p.control():
			then = p.pass(sig)
		case sig := <-signals:
			p.signal(syscall.Signal(number(sig)))
		case <-l.Done():
		case <-timer.C:
		}
	}
	select {
	case <-p.exited():
		return false // in time
	default:
	}
	condemn(l, p, signals, t)
	return true
}

// check asks the owner whether the lock is still held. The lock knows the answer, and so
// its Remaining.
func check(l heldLock) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	_ = l.Check(ctx)
}

// condemn ends CMD: with SIGTERM, and when there is no more time with SIGKILL.
func condemn(l heldLock, p process, signals <-chan os.Signal, t times) {
	left := func() time.Duration { return l.Remaining() - t.kill }
	if err := l.Err(); errors.Is(err, client.ErrForced) || errors.Is(err, sharelock.ErrNotHeld) || errors.Is(err, sharelock.ErrStaleToken) {
		taken := time.Now()
		left = func() time.Duration { return t.taken - time.Since(taken) }
	}
	if left() > 0 {
		p.signal(syscall.SIGTERM)
		p.resume() // a stopped process would not see it
	}
	// A renewal may yet be answered. CMD does not get more time by that than it had
	// when it was told.
	last := time.NewTimer(max(left(), 0))
	defer last.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait := left()
		if wait <= 0 {
			break
		}
		timer.Reset(min(wait, t.look))
		select {
		case <-p.exited():
			return
		case sig := <-signals:
			p.signal(syscall.Signal(number(sig)))
			continue
		case <-p.stopped():
			p.resume()
			continue
		case <-p.control(): // there is no time for it
			continue
		case <-timer.C:
			continue
		case <-last.C:
		}
		break
	}
	p.signal(syscall.SIGKILL)
	<-p.exited()
}
