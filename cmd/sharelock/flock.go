package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/getopt"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/job"
)

// flockName is the name under which this program is flock(1).
const flockName = "flock"

const (
	// forever is the wait of flock(1) without -n and -w.
	forever = time.Duration(math.MaxInt64)
	// longestWait is the default max_wait of a mesh. If the mesh allows less, or if this wait
	// ends, the lock is asked for again.
	longestWait = 10 * time.Minute
)

// flockOptions are the options of flock(1).
type flockOptions struct {
	shared, nonblock, noFork, close bool
	unlock, verbose                 bool
	help, version                   bool
	wait                            time.Duration
	conflict                        int
}

func (a *app) flockCommand() *cobra.Command {
	r := &remote{app: a}
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:     "flock [options] KEY CMD [ARG...] | KEY -c COMMAND",
		GroupID: groupLock,
		Short:   "Run a command while holding a lock, with the arguments of flock(1)",
		Long: `Run a command while holding a lock, with the options and exit codes of flock(1).
The lock is a lock of the mesh instead of the lock of a file: the name of the file,
exactly as written, is the KEY. This program does the same when it is called flock.

 -s, --shared                   get a shared lock
 -x, -e, --exclusive            get an exclusive lock (default)
 -n, --nb, --nonblock           fail rather than wait
 -w, --wait, --timeout SECONDS  wait at most this long, fractions allowed (default: for ever)
 -E, --conflict-exit-code N     exit code if others hold the lock (default 1)
 -c, --command COMMAND          after KEY: run a command line with the shell
 -o, --close; -F, --no-fork     accepted; CMD inherits no lock, and is a process of its own
     --verbose                  print how long the lock took, and why it failed
 -h, --help; -V, --version

Not possible: -u, and the number of an open file instead of KEY and CMD. The lock
belongs to this process, not to an open file that a shell could keep.

SHARELOCK_SERVER, or the options below, name the mesh. Options come before KEY. CMD,
and a lost lock, are handled as by sharelock lock; see its help.

Exit codes: that of CMD, 128+n if signal n ended it; -E (1) if others hold the lock;
64 bad usage; 69 the mesh cannot be reached or cannot serve, or CMD cannot be run; 75
the lock was lost and CMD was stopped.`,
		Example: `  # in a crontab: runs once in the whole mesh
  * * * * * sharelock flock -n nightly ./nightly.sh

  sharelock flock -w 2.5 -E 0 deploy -c 'make deploy && make check'`,
		DisableFlagParsing: true,
	}
	r.addFlags(cmd)
	cmd.Flags().BoolVar(&r.only, "only-server", false, onlyServerUsage)
	cmd.Flags().BoolVar(&r.passAuth, "pass-auth", false, passAuthUsage)
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long the lock lives without a renewal (default: the node's default_ttl)")
	// flock(1) has an option of this name.
	_ = cmd.Flags().MarkHidden("timeout")
	// Its options may be abbreviated, and --con is --conflict-exit-code.
	_ = cmd.Flags().MarkHidden("context")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := flockOptions{wait: forever, conflict: exit.Failed}
		args, err := getopt.Parse(append(o.options(), sharelockOptions(cmd.Flags())...), args)
		switch {
		case err != nil:
			return exit.Usagef("%w (see 'sharelock flock --help')", err)
		case o.nonblock:
			o.wait = 0 // regardless of -w
		}
		switch {
		case o.help:
			return cmd.Help()
		case o.version:
			return a.printVersion()
		}
		key, argv, err := o.command(args, variable(a.environ, "SHELL", job.DefaultShell))
		if err != nil {
			return exit.Usagef("%w (see 'sharelock flock --help')", err)
		}
		if err := sharelock.CheckKey(key); err != nil {
			return exit.Usagef("%w", err)
		}
		if ttl != 0 && ttl < sharelock.MinTTL {
			return exit.Usagef("--ttl: %v is below the least, %v", ttl, sharelock.MinTTL)
		}
		return a.flock(cmd.Context(), r, key, argv, o, ttl)
	}
	return cmd
}

// options returns the options of flock(1).
func (o *flockOptions) options() []getopt.Option {
	set := func(to *bool, value bool) func(string) error {
		return func(string) error {
			*to = value
			return nil
		}
	}
	return []getopt.Option{
		{Letter: 's', Names: []string{"shared"}, Set: set(&o.shared, true)},
		{Letter: 'x', Names: []string{"exclusive"}, Set: set(&o.shared, false)},
		{Letter: 'e', Set: set(&o.shared, false)},
		{Letter: 'u', Names: []string{"unlock"}, Set: set(&o.unlock, true)},
		{Letter: 'n', Names: []string{"nonblocking", "nb"}, Set: set(&o.nonblock, true)},
		{Letter: 'w', Names: []string{"timeout", "wait"}, Value: true, Set: func(s string) (err error) {
			seconds, err := strconv.ParseFloat(s, 64)
			if err != nil || !(seconds >= 0) {
				return fmt.Errorf("invalid timeout Value: '%s'", s)
			}
			o.wait = time.Duration(min(seconds*float64(time.Second), float64(forever/2)))
			return nil
		}},
		{Letter: 'E', Names: []string{"conflict-exit-code"}, Value: true, Set: func(s string) (err error) {
			if o.conflict, err = strconv.Atoi(s); err != nil || o.conflict < 0 || o.conflict > 255 {
				return fmt.Errorf("invalid exit code: '%s' (expected 0 to 255)", s)
			}
			return nil
		}},
		{Letter: 'o', Names: []string{"close"}, Set: set(&o.close, true)},
		{Letter: 'F', Names: []string{"no-fork"}, Set: set(&o.noFork, true)},
		{Names: []string{"verbose"}, Set: set(&o.verbose, true)},
		{Letter: 'h', Names: []string{"help"}, Set: set(&o.help, true)},
		{Letter: 'V', Names: []string{"version"}, Set: set(&o.version, true)},
	}
}

// sharelockOptions returns the options that flock(1) does not have. All of them are long.
func sharelockOptions(flags *pflag.FlagSet) (options []getopt.Option) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		options = append(options, getopt.Option{
			Names: []string{f.Name}, Value: f.NoOptDefVal == "",
			Set: func(value string) error {
				if err := flags.Set(f.Name, cmp.Or(value, f.NoOptDefVal)); err != nil {
					return fmt.Errorf("--%s: %w", f.Name, err)
				}
				return nil
			},
		})
	})
	return options
}

// command finds the key and the command in the arguments after the options.
func (o *flockOptions) command(args []string, shell string) (key string, argv []string, err error) {
	switch {
	case o.close && o.noFork:
		return "", nil, errors.New("the --no-fork and --close options are incompatible")
	case len(args) == 0:
		return "", nil, errors.New("not enough arguments")
	case len(args) == 1:
		return "", nil, fmt.Errorf("%q: an open file cannot be locked: give a KEY and a command", args[0])
	case o.unlock:
		return "", nil, errors.New("--unlock: there is no open file to unlock; a lock ends with its command")
	case args[1] != "-c" && args[1] != "--command":
		return args[0], args[1:], nil
	case len(args) != 3:
		return "", nil, fmt.Errorf("%s requires exactly one command argument", args[1])
	default:
		return args[0], []string{shell, "-c", args[2]}, nil
	}
}

func (a *app) flock(ctx context.Context, r *remote, key string, argv []string, o flockOptions, ttl time.Duration) error {
	var opts []client.Option
	if o.shared {
		opts = append(opts, client.Shared())
	}
	if ttl != 0 {
		opts = append(opts, client.TTL(ttl))
	}
	err := a.lock(ctx, r, key, argv, func(ctx context.Context, c *client.Client) (*client.Lock, error) {
		start := time.Now()
		l, err := acquireWithin(ctx, c, key, o.wait, opts)
		if err != nil {
			err = exit.NotObtained(exit.OfCall(err), o.conflict)
			if errors.Is(err, sharelock.ErrLockHeld) && !o.verbose {
				return nil, &exit.Error{Code: o.conflict} // as silent as flock(1)
			}
			return nil, err
		}
		if o.verbose {
			fmt.Fprintf(a.stdout, "flock: getting lock took %.6f seconds\nflock: executing %s\n", time.Since(start).Seconds(), argv[0])
		}
		return l, nil
	})
	if e, ok := errors.AsType[*exit.Error](err); ok && e.Err != nil && (e.Code == exit.CannotRun || e.Code == exit.NotFound) {
		return &exit.Error{Code: exit.Unreachable, Err: fmt.Errorf("failed to execute %w", e.Err)}
	}
	return err
}

// acquireWithin acquires a lock and may wait longer than the mesh allows: when the allowed wait
// ends, it asks again and goes to the end of the queue.
func acquireWithin(ctx context.Context, c *client.Client, key string, wait time.Duration, opts []client.Option) (*client.Lock, error) {
	start, most := time.Now(), longestWait
	for {
		left := max(wait-time.Since(start), 0)
		l, err := c.Acquire(ctx, key, append(slices.Clip(opts), client.Wait(min(left, most)))...)
		e, ok := errors.AsType[*sharelock.Error](err)
		switch {
		case ok && errors.Is(e.Err, sharelock.ErrInvalidArgument) && strings.HasSuffix(e.Field, "wait") && most > time.Second:
			most /= 2 // this mesh has a smaller max_wait
		case ok && errors.Is(e.Err, sharelock.ErrLockHeld) && left > most:
		default:
			return l, err
		}
	}
}
