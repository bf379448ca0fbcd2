package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

// releaseTime bounds the release after CMD has ended, and lostTime the release of a lock that
// was lost. If the release fails, the lock ends after its TTL.
const (
	releaseTime = 5 * time.Second
	lostTime    = time.Second
)

// Lock is the lock that is held while CMD runs. It is implemented by client.Lock.
type Lock interface {
	heldLock
	Hold() sharelock.Hold
	Release(ctx context.Context) error
}

// Mesh is a connection to the mesh.
type Mesh interface {
	// Acquire waits for the lock.
	Acquire(ctx context.Context) (Lock, error)
	Close() error
}

// Command is a command that runs under a lock, and what it uses of this process.
type Command struct {
	// Key is the lock's key, for messages.
	Key string
	// Argv is the name of the program and its arguments.
	Argv []string
	// Environ is CMD's environment, to which the variables of the lock are added.
	Environ        []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Alone is set if this process runs this command and nothing else. Then job control may stop
	// the process, CMD may use its terminal, and a sentinel watches the process.
	Alone bool
	// Children starts the processes; nil reaps no orphans.
	Children *Children
	// Notify delivers signals until stop is called.
	Notify func(sigs ...os.Signal) (c <-chan os.Signal, stop func())
	// Dial connects to the mesh. Its errors, and those of Acquire, end the process with the code
	// that they have.
	Dial func(ctx context.Context) (Mesh, error)
}

// Run runs the command under the lock. It returns nil if CMD has ended with code 0, and an
// *exit.Error with its code, or with what has failed, otherwise.
func (c *Command) Run(ctx context.Context) error {
	path, err := lookUp(c.Argv[0])
	if err != nil {
		return err // before waiting for a lock
	}
	// Before the acquire: no signal may end this process while it holds the lock.
	signals, stop := c.Notify(Forwarded()...)
	defer stop()
	var s *sentinel
	if c.Alone {
		if s, err = startSentinel(c.Children, 0, 0); err != nil {
			return cannotRun(err)
		}
	}
	l, m, err := c.obtain(ctx, s, signals)
	if err != nil {
		s.close()
		return err
	}
	defer m.Close() //nolint:errcheck // a lock that is not released ends after its TTL

	relayed := newRelay(signals, s)
	e, lost, err := c.under(l, path, s, relayed.out)
	received := relayed.stop()
	if err != nil {
		return errors.Join(cannotRun(err), release(ctx, l, releaseTime))
	}
	if err := c.released(ctx, l, lost); err != nil || e.code == exit.OK {
		return err
	}
	end := &exit.Error{Code: e.code}
	if e.by != 0 && (e.shared || received(e.by)) {
		end.By = e.by // the signal was meant for this process, too
	}
	return end
}

// released releases the lock after CMD has ended, and returns an error if the lock was lost.
func (c *Command) released(ctx context.Context, l Lock, lost bool) error {
	patience := releaseTime
	if lost {
		patience = lostTime
	}
	err := release(ctx, l, patience)
	switch {
	case lost && err == nil:
		return &exit.Error{Code: exit.Lost, Err: fmt.Errorf("the lock of %q was about to be lost: the command was stopped", c.Key)}
	case lost:
		return &exit.Error{Code: exit.Lost, Err: fmt.Errorf("the command was stopped: %w", err)}
	case errors.Is(err, client.ErrLost), errors.Is(err, sharelock.ErrNotHeld), errors.Is(err, sharelock.ErrStaleToken):
		return &exit.Error{Code: exit.Lost, Err: fmt.Errorf("the lock was lost before the command ended: %w", err)}
	}
	if err != nil {
		fmt.Fprintf(c.Stderr, "sharelock: %s; the lock ends after its TTL\n", text.OneLine(exit.CannotServe(err)))
	}
	return nil
}

func release(ctx context.Context, l Lock, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return l.Release(ctx)
}

// under runs the command while the lock is held. It reports whether the command was ended
// because the lock was lost or was about to be lost.
func (c *Command) under(l Lock, path string, s *sentinel, signals <-chan os.Signal) (e ending, lost bool, err error) {
	// The kernel ends CMD with the thread that started it (see start).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	h, times := l.Hold(), timesOf(l.Hold().TTL)
	if s.allow(l.Remaining) <= times.term {
		s.close()
		return ending{}, true, nil // this process was stopped in the meantime
	}
	p, err := c.start(path, slices.Concat(c.Environ, []string{
		"SHARELOCK_KEY=" + h.Key, "SHARELOCK_TOKEN=" + h.Token.String(), "SHARELOCK_CLIENT_ID=" + h.ClientID,
	}), s)
	if err != nil {
		s.close()
		return ending{}, false, err
	}
	lost = guard(l, p, signals, times)
	e = p.finish(lost)
	if e.err != nil {
		err = &exec.Error{Name: path, Err: e.err}
	}
	return e, lost || e.killed, err
}

// obtain waits for the lock, or for a signal to give up.
func (c *Command) obtain(ctx context.Context, s *sentinel, signals <-chan os.Signal) (Lock, Mesh, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type result struct {
		l   Lock
		m   Mesh
		err error
	}
	done := make(chan result, 1)
	go func() {
		l, m, err := c.acquire(ctx, s)
		done <- result{l, m, err}
	}()
	for {
		select {
		case got := <-done:
			return got.l, got.m, got.err
		case sig := <-signals:
			if endsProcess(sig) {
				cancel(exit.Interrupted{Sig: syscall.Signal(exit.Number(sig))})
			}
		}
	}
}

// acquire acquires the lock when the sentinel is ready.
func (c *Command) acquire(ctx context.Context, s *sentinel) (Lock, Mesh, error) {
	m, err := c.Dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	var l Lock
	if err = s.ready(); err != nil {
		err = cannotRun(err)
	} else {
		l, err = m.Acquire(ctx)
	}
	if err != nil {
		return nil, nil, errors.Join(err, m.Close())
	}
	return l, m, nil
}
