package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/job"
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
	cmd.Flags().IntVarP(&conflict, "conflict-exit-code", "E", exit.Failed, "exit code if others hold the lock")
	r.addFlags(cmd)
	cmd.Flags().BoolVar(&r.only, "only-server", false, onlyServerUsage)
	cmd.Flags().BoolVar(&r.passAuth, "pass-auth", false, passAuthUsage)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if conflict < 0 || conflict > 255 {
			return exit.Usagef("--conflict-exit-code: %d is not between 0 and 255", conflict)
		}
		opts, err := flags.options()
		if err != nil {
			return err
		}
		key, argv, _ := splitKey(cmd.ArgsLenAtDash(), args)
		if err := sharelock.CheckKey(key); err != nil {
			return exit.Usagef("%w", err)
		}
		return a.lock(cmd.Context(), r, key, argv, func(ctx context.Context, c *client.Client) (*client.Lock, error) {
			l, err := c.Acquire(ctx, key, opts...)
			return l, exit.NotObtained(exit.OfCall(err), conflict)
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
	environ := a.environ
	if !r.passAuth {
		environ = withoutSecrets(environ)
	}
	c := job.Command{
		Key: key, Argv: argv, Environ: environ, Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr,
		Alone: a.alone, Children: a.children, Notify: a.notify,
		Dial: func(ctx context.Context) (job.Mesh, error) {
			c, err := r.dial(ctx)
			return connection{c, take}, err
		},
	}
	return c.Run(ctx)
}

// connection is a connection to the mesh that obtains the lock of a command.
type connection struct {
	*client.Client
	take acquire
}

// Acquire implements job.Mesh.
func (c connection) Acquire(ctx context.Context) (job.Lock, error) {
	l, err := c.take(ctx, c.Client)
	if err != nil {
		return nil, err
	}
	return l, nil
}
