package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
)

const (
	lockTTL = 30 * time.Second
	// releaseTime bounds the release after CMD has ended, and lostTime that of a lock
	// which was lost; the TTL does the rest.
	releaseTime = 5 * time.Second
	lostTime    = time.Second
)

func (a *app) lockCommand() *cobra.Command {
	var (
		flags    acquireFlags
		conflict int
		r        = &remote{app: a}
	)
	cmd := &cobra.Command{
		Use:     "lock KEY [flags] -- CMD [ARG...]",
		GroupID: groupLock,
		Short:   "Run a command while holding a lock",
		Long: `Run CMD while the lock of KEY is held and renewed, and release it when CMD ends.

CMD runs in a process group of its own, gets stdin and every signal that comes
here, and sees SHARELOCK_KEY, SHARELOCK_TOKEN and SHARELOCK_CLIENT_ID. Processes
that it leaves behind in the background are not waited for.

If the lock is lost, because no node could renew it in time or because it was
taken away, the whole process group gets SIGTERM, and SIGKILL before the key can
be granted to anybody else for want of renewals.

Exit codes: that of CMD, 128+n if signal n ended it; -E (1) if the lock was not
obtained; 64 bad usage; 69 the mesh cannot be reached, or cannot serve; 75 the
lock was lost and CMD was stopped; 126 CMD cannot be run; 127 CMD was not found.`,
		Example: `  # one of many hosts runs the nightly job; the others do not wait
  sharelock lock nightly -n -E 0 -- ./nightly.sh

  # at most three uploads at a time, with what may follow
  sharelock lock uploads --slots 3 --wait 10m -- rsync -a out/ backup:

  # let the resource refuse a holder that has overslept
  sharelock lock db -- sh -c 'psql -v token="$SHARELOCK_TOKEN" -f migrate.sql'`,
		DisableFlagsInUseLine: true,
		Args: func(cmd *cobra.Command, args []string) error {
			switch dash := cmd.ArgsLenAtDash(); {
			case dash != 1:
				return errors.New("want KEY -- CMD [ARG...]")
			case len(args) < 2:
				return errors.New("CMD is missing after --")
			}
			return nil
		},
	}
	flags.add(cmd, lockTTL)
	cmd.Flags().IntVarP(&conflict, "conflict-exit-code", "E", exitFailed, "exit code if the lock is not obtained")
	r.addFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if conflict < 0 || conflict > 255 {
			return usageError("--conflict-exit-code: %d is not between 0 and 255", conflict)
		}
		opts, err := flags.options()
		if err != nil {
			return err
		}
		if err := sharelock.CheckKey(args[0]); err != nil {
			return usageError("%w", err)
		}
		return a.lock(cmd.Context(), r, args[0], args[1:], opts, conflict)
	}
	return cmd
}

func (a *app) lock(ctx context.Context, r *remote, key string, argv []string, opts []client.Option, conflict int) error {
	path, err := lookUp(argv[0])
	if err != nil {
		return err // before anybody waits for a lock
	}
	// Before the lock: no signal may end this process while it holds one.
	signals, stop := a.notify(forwarded()...)
	defer stop()
	l, c, err := obtain(ctx, r, key, opts, signals, conflict)
	if err != nil {
		return err
	}
	defer c.Close()

	// The kernel ends CMD with the thread that started it (see startProcess).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := startProcess(path, argv, a.stdin, a.stdout, a.stderr, slices.Concat(a.environ, []string{
		"SHARELOCK_KEY=" + key, "SHARELOCK_TOKEN=" + l.Token().String(), "SHARELOCK_CLIENT_ID=" + l.Hold().ClientID,
	}))
	if err != nil {
		return errors.Join(&exitError{exitCannotRun, err}, release(ctx, l, releaseTime))
	}
	lost := guard(l, p, signals, timesOf(l.Hold().TTL))
	code := p.finish(lost)
	patience := releaseTime
	if lost {
		patience = lostTime
	}
	err = release(ctx, l, patience)
	switch {
	case lost && err == nil:
		return &exitError{exitLost, fmt.Errorf("the lock of %q was about to be lost: the command was stopped", key)}
	case lost:
		return &exitError{exitLost, fmt.Errorf("the command was stopped: %w", err)}
	case errors.Is(err, client.ErrLost), errors.Is(err, sharelock.ErrNotHeld), errors.Is(err, sharelock.ErrStaleToken):
		return &exitError{exitLost, fmt.Errorf("the lock was lost before the command ended: %w", err)}
	}
	if err != nil {
		fmt.Fprintf(a.stderr, "sharelock: %s; the lock ends with its TTL\n", oneLine(cannotServe(err)))
	}
	if code != exitOK {
		return &exitError{code: code}
	}
	return nil
}

// obtain waits for the lock, or for a signal to give up.
func obtain(ctx context.Context, r *remote, key string, opts []client.Option, signals <-chan os.Signal, conflict int) (*client.Lock, *client.Client, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type result struct {
		l   *client.Lock
		c   *client.Client
		err error
	}
	done := make(chan result, 1)
	go func() {
		c, err := r.dial(ctx)
		if err != nil {
			done <- result{err: err}
			return
		}
		l, err := c.Acquire(ctx, key, opts...)
		if err != nil {
			err = callError(errors.Join(err, c.Close()))
		}
		done <- result{l, c, err}
	}()
	for {
		select {
		case got := <-done:
			return got.l, got.c, notObtained(got.err, conflict)
		case sig := <-signals:
			if ends(sig) {
				cancel(interrupted{syscall.Signal(number(sig))})
			}
		}
	}
}

// ends tells whether a signal asks a process to end.
func ends(sig os.Signal) bool {
	switch sig {
	case os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT:
		return true
	default:
		return false
	}
}

func release(ctx context.Context, l *client.Lock, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return l.Release(ctx)
}

// lookUp finds the command as a shell would.
func lookUp(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, fs.ErrPermission):
		return "", &exitError{exitCannotRun, err}
	default:
		return "", &exitError{exitNotFound, err}
	}
}
