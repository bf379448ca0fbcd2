package job

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// checkTime bounds how long CMD stays stopped while the owner is asked whether the lock is
// still held. Without an answer the client's clock decides, as usual.
const checkTime = time.Second

// heldLock is the part of client.Lock that guard uses.
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
	// stopped receives the signal that stopped CMD.
	stopped() <-chan syscall.Signal
	// control receives the job control signals that this process gets.
	control() <-chan os.Signal
	// follow handles a stop of CMD, and pass a job control signal to this process. They may
	// stop this process. They return the next step.
	follow(sig syscall.Signal) step
	pass(sig os.Signal) step
	resume()
	// allow extends CMD's deadline to the remaining time, for the case that this process does
	// not extend it again, and returns that time.
	allow(remaining func() time.Duration) time.Duration
	// signal sends a signal to the whole group.
	signal(sig syscall.Signal)
	// finish waits for the end of CMD and returns how it ended. With kill set it kills the
	// rest of the group.
	finish(kill bool) ending
}

// step is what to do after an event of job control.
type step int

const (
	carryOn step = iota
	// resumeCMD: resume CMD if it still may run.
	resumeCMD
	// checkLock: the same, but check the lock first: this process was stopped in the meantime,
	// and may not have been told that the lock was taken by force.
	checkLock
)

// ending is how CMD ended.
type ending struct {
	code int
	// by is the signal that ended it, 0 if none did.
	by syscall.Signal
	// err is the reason why CMD could not be run.
	err error
	// killed is set if the sentinel killed CMD because the lock could be lost.
	killed bool
	// shared is set if that signal was for all processes at the terminal.
	shared bool
}

// times holds the times of guard, before the moment at which the lock can be lost. That moment
// is by the client's clock, a tenth of the TTL earlier than at the owner.
type times struct {
	// CMD gets SIGTERM term before that moment, and SIGKILL kill before it.
	term, kill time.Duration
	// taken is how long CMD may take to end when the lock was taken by force: another client
	// may hold it already.
	taken time.Duration
	// look is the maximum interval between two readings of the clock. Timers alone are not
	// sufficient: they stop while the machine is suspended.
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

// guard waits for CMD, forwards signals, and ends CMD's whole group before the lock can be lost.
// It reports whether it has ended the group.
//
// The client renews the lock. A renewal extends the lock from the moment at which it was sent
// (Q3), so these times count from there, too.
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
			p.signal(syscall.Signal(exit.Number(sig)))
		case <-l.Done():
		case <-timer.C:
		}
	}
	select {
	case <-p.exited():
		return false // CMD has ended in time
	default:
	}
	endCommand(l, p, signals, t)
	return true
}

// check asks the owner whether the lock is still held. The lock keeps the answer, and its
// Remaining reflects it.
func check(l heldLock) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	_ = l.Check(ctx)
}

// endCommand ends CMD: with SIGTERM first, and with SIGKILL when there is no time left.
func endCommand(l heldLock, p process, signals <-chan os.Signal, t times) {
	left := func() time.Duration { return l.Remaining() - t.kill }
	if err := l.Err(); errors.Is(err, client.ErrForced) || errors.Is(err, sharelock.ErrNotHeld) || errors.Is(err, sharelock.ErrStaleToken) {
		taken := time.Now()
		left = func() time.Duration { return t.taken - time.Since(taken) }
	}
	if left() > 0 {
		p.signal(syscall.SIGTERM)
		p.resume() // a stopped process would not see it
	}
	// A renewal may still be answered. That does not give CMD more time than it had when it
	// got SIGTERM.
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
			p.signal(syscall.Signal(exit.Number(sig)))
			continue
		case <-p.stopped():
			p.resume()
			continue
		case <-p.control(): // there is no time for job control
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
