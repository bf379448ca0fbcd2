package main

import (
	"context"
	"errors"
	"fmt"
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

// releaseTime bounds the release after CMD has ended, and lostTime the release of a lock that
// was lost. If the release fails, the lock ends after its TTL.
const (
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

CMD runs in a process group of its own. It uses the terminal as it would without
sharelock, and gets stdin and every signal that sharelock gets. Its environment has
SHARELOCK_KEY, SHARELOCK_TOKEN and SHARELOCK_CLIENT_ID, but not the variables of the
caller's credential, such as SHARELOCK_AUTH_TOKEN. sharelock does not wait for
processes that CMD leaves in the background. Put a KEY that looks like a flag between
two --.

If the lock is lost, because no node could renew it in time or because it was taken
by force, the whole process group gets SIGTERM. It gets SIGKILL before the key can
be granted to anybody else because of missing renewals. If sharelock itself is killed,
or stopped for too long, a second sharelock process kills the group.

Exit codes: that of CMD, 128+n if signal n ended it; -E (1) if others hold the
lock; 64 bad usage; 69 the mesh cannot be reached, or cannot serve; 75 the lock
was lost and CMD was stopped; 126 CMD cannot be run; 127 CMD was not found.`,
		Example: `  # only one of many hosts runs the nightly job; the others do not wait
  sharelock lock nightly -n -E 0 -- ./nightly.sh

  # at most three uploads at a time
  sharelock lock uploads --slots 3 --wait 10m -- rsync -a out/ backup:

  # let the resource reject a holder that has lost its lock
  sharelock lock db -- sh -c 'psql -v token="$SHARELOCK_TOKEN" -f migrate.sql'`,
		DisableFlagsInUseLine: true,
		Args: func(cmd *cobra.Command, args []string) error {
			_, argv, ok := splitKey(cmd.ArgsLenAtDash(), args)
			switch {
			case !ok:
				return errors.New("want KEY -- CMD [ARG...]")
			case len(argv) == 0:
				return errors.New("CMD is missing after --")
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().IntVarP(&conflict, "conflict-exit-code", "E", exitFailed, "exit code if others hold the lock")
	r.addFlags(cmd)
	cmd.Flags().BoolVar(&r.only, "only-server", false, onlyServerUsage)
	cmd.Flags().BoolVar(&r.passAuth, "pass-auth", false, passAuthUsage)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if conflict < 0 || conflict > 255 {
			return usageError("--conflict-exit-code: %d is not between 0 and 255", conflict)
		}
		opts, err := flags.options()
		if err != nil {
			return err
		}
		key, argv, _ := splitKey(cmd.ArgsLenAtDash(), args)
		if err := sharelock.CheckKey(key); err != nil {
			return usageError("%w", err)
		}
		return a.lock(cmd.Context(), r, key, argv, func(ctx context.Context, c *client.Client) (*client.Lock, error) {
			l, err := c.Acquire(ctx, key, opts...)
			return l, notObtained(callError(err), conflict)
		})
	}
	return cmd
}

// splitKey finds KEY and CMD in the arguments: KEY -- CMD, or -- KEY -- CMD for a KEY that
// looks like a flag. dash is the number of arguments before the first --, which args does not
// contain, or -1 if there is no --.
func splitKey(dash int, args []string) (key string, argv []string, ok bool) {
	switch {
	case dash == 1:
		return args[0], args[1:], true
	case dash == 0 && len(args) > 1 && args[1] == "--":
		return args[0], args[2:], true
	default:
		return "", nil, false
	}
}

// acquire is a function that obtains the lock of a command.
type acquire func(ctx context.Context, c *client.Client) (*client.Lock, error)

// lock runs a command under a lock.
func (a *app) lock(ctx context.Context, r *remote, key string, argv []string, take acquire) error {
	path, err := lookUp(argv[0])
	if err != nil {
		return err // before waiting for a lock
	}
	// Before the acquire: no signal may end this process while it holds the lock.
	signals, stop := a.notify(forwarded()...)
	defer stop()
	var s *sentinel
	if a.alone {
		if s, err = startSentinel(a.children, 0, 0); err != nil {
			return cannotRun(err)
		}
	}
	l, c, err := obtain(ctx, r, s, take, signals)
	if err != nil {
		s.close()
		return err
	}
	defer c.Close() //nolint:errcheck // a lock that is not released ends after its TTL

	relayed := newRelay(signals, s)
	e, lost, err := a.under(r, l, path, argv, s, relayed.out)
	received := relayed.stop()
	if err != nil {
		return errors.Join(cannotRun(err), release(ctx, l, releaseTime))
	}
	patience := releaseTime
	if lost {
		patience = lostTime
	}
	err = release(ctx, l, patience)
	switch {
	case lost && err == nil:
		return &exitError{code: exitLost, err: fmt.Errorf("the lock of %q was about to be lost: the command was stopped", key)}
	case lost:
		return &exitError{code: exitLost, err: fmt.Errorf("the command was stopped: %w", err)}
	case errors.Is(err, client.ErrLost), errors.Is(err, sharelock.ErrNotHeld), errors.Is(err, sharelock.ErrStaleToken):
		return &exitError{code: exitLost, err: fmt.Errorf("the lock was lost before the command ended: %w", err)}
	}
	if err != nil {
		fmt.Fprintf(a.stderr, "sharelock: %s; the lock ends after its TTL\n", oneLine(cannotServe(err)))
	}
	if e.code == exitOK {
		return nil
	}
	end := &exitError{code: e.code}
	if e.by != 0 && (e.shared || received(e.by)) {
		end.by = e.by // the signal was meant for this process, too
	}
	return end
}

// under runs the command while the lock is held. It reports whether the command was ended
// because the lock was lost or was about to be lost.
func (a *app) under(r *remote, l *client.Lock, path string, argv []string, s *sentinel, signals <-chan os.Signal) (e ending, lost bool, err error) {
	// The kernel ends CMD with the thread that started it (see startProcess).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	h, times := l.Hold(), timesOf(l.Hold().TTL)
	if s.allow(l.Remaining) <= times.term {
		s.close()
		return ending{}, true, nil // this process was stopped in the meantime
	}
	environ := a.environ
	if !r.passAuth {
		environ = withoutSecrets(environ)
	}
	p, err := a.startProcess(path, argv, slices.Concat(environ, []string{
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
func obtain(ctx context.Context, r *remote, s *sentinel, take acquire, signals <-chan os.Signal) (*client.Lock, *client.Client, error) {
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
		var l *client.Lock
		if err = s.ready(); err != nil {
			err = cannotRun(err)
		} else {
			l, err = take(ctx, c)
		}
		if err != nil {
			err = errors.Join(err, c.Close())
		}
		done <- result{l, c, err}
	}()
	for {
		select {
		case got := <-done:
			return got.l, got.c, got.err
		case sig := <-signals:
			if endsProcess(sig) {
				cancel(interrupted{syscall.Signal(number(sig))})
			}
		}
	}
}

func release(ctx context.Context, l *client.Lock, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return l.Release(ctx)
}
