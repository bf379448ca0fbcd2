package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/host"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
	"github.com/sgkandale/sharelock/internal/workload"
)

// The routes of bench's calls to the owner of a key.
const (
	routeOwner = "owner"
	routeAny   = "any"
)

// bench holds the settings of one run.
type bench struct {
	remote
	load    workload.Options
	clients int
	mode    string
	route   string
	ttl     time.Duration
	wait    time.Duration
}

func (a *app) benchCommand() *cobra.Command {
	b := &bench{remote: remote{app: a}}
	cmd := &cobra.Command{
		Use:     "bench",
		GroupID: groupMesh,
		Short:   "Measure how fast the mesh grants locks",
		Long: `Acquire and release locks with many workers for a while. Print the number of
acquire/release pairs per second, their latencies, and how evenly the workers were
served.

Without --rate, every worker acquires its next lock as soon as it has released the
last one. With --rate, that many acquires are due per second, and the latency of an
acquire counts from the time at which it was due, even if all workers were busy
then. So the figures show a stall of the mesh as all users would experience it
(there is no coordinated omission). "from send" then shows the calls alone.

"hand-over" is the time from the beginning of a release to the grant of the next
worker that was already waiting.

The locks are real: use a mesh, or a --prefix, that nobody else uses. The first
interrupt ends the run and prints what was measured until then.`,
		Example: `  # 64 workers at full speed, each with a key of its own
  sharelock bench --workers 64

  # 16 workers contending for one key
  sharelock bench --workers 16 --keys 1

  # 2,000 acquires per second, one in ten for one hot key, sent to any node
  sharelock bench --workers 256 --keys 100000 --contention 0.1 --rate 2000 --route any`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd.Context()) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.IntVar(&b.load.Workers, "workers", 16, "number of concurrent workers")
	fs.IntVar(&b.clients, "clients", 1, "number of clients, each with its own connections, that the workers share")
	fs.IntVar(&b.load.Keys, "keys", 0, "number of keys that the workers choose from; 0: one key per worker")
	fs.Float64Var(&b.load.Contention, "contention", 0, "share of the acquires, 0 to 1, that go to one additional key, the same for all")
	fs.DurationVar(&b.load.Hold, "hold", 0, "how long each lock is held")
	fs.StringVar(&b.mode, "mode", "exclusive", "exclusive or shared")
	fs.DurationVar(&b.load.Duration, "duration", 10*time.Second, "how long to measure")
	fs.DurationVar(&b.load.Warmup, "warmup", 2*time.Second, "how long to run before measuring")
	fs.Float64Var(&b.load.Rate, "rate", 0, "acquires due per second, of all workers together; 0: full speed")
	fs.StringVar(&b.route, "route", routeOwner, "where calls go: owner (directly to the key's owner), or any (to --server, which forwards)")
	fs.DurationVar(&b.ttl, "ttl", 10*time.Second, "how long the locks live without a renewal")
	fs.DurationVar(&b.wait, "wait", 30*time.Second, "how long a worker waits in the queue")
	fs.StringVar(&b.load.Prefix, "prefix", "", "prefix of all keys (default: bench/ and a random part)")
	b.addFlags(cmd)
	fs.StringVarP(&b.output, "output", "o", "text", "text or json (durations in nanoseconds)")
	return cmd
}

// check validates the flags before any call is made.
func (b *bench) check() error {
	if b.load.Prefix == "" {
		b.load.Prefix = "bench/" + strings.ToLower(rand.Text()[:8]) + "/"
	}
	b.load.Shared = b.mode == "shared"
	b.load.Kind = benchKind
	switch err := b.load.Validate(); {
	case err != nil:
		return exit.Usagef("%w", err)
	case b.output != "text" && b.output != "json":
		return exit.Usagef("--output: want text or json, got %q", b.output)
	case b.mode != "exclusive" && b.mode != "shared":
		return exit.Usagef("--mode: want exclusive or shared, got %q", b.mode)
	case b.route != routeOwner && b.route != routeAny:
		return exit.Usagef("--route: want owner or any, got %q", b.route)
	case b.clients < 1 || b.clients > b.load.Workers:
		return exit.Usagef("--clients: want 1 to %d, one for a worker, got %d", b.load.Workers, b.clients)
	case b.ttl < sharelock.MinTTL:
		return exit.Usagef("--ttl: %v is below the least, %v", b.ttl, sharelock.MinTTL)
	case b.wait < 0:
		return exit.Usagef("--wait: %v is negative", b.wait)
	}
	// The longest key there will be.
	if err := sharelock.CheckKey(fmt.Sprint(b.load.Prefix, max(b.load.Keys, b.load.Workers))); err != nil {
		return exit.Usagef("--prefix: %w", err)
	}
	return nil
}

func (b *bench) run(ctx context.Context) error {
	if err := b.check(); err != nil {
		return err
	}
	ctx, stop := b.app.interruptible(ctx)
	defer stop()
	defer host.LimitGarbage(b.app.environ)()
	clients, err := b.dialAll(ctx)
	defer func() {
		for _, c := range clients {
			_ = c.Close() // all locks are released, or their release has failed
		}
	}()
	if err != nil {
		return exit.OfCall(err)
	}
	opts := []client.Option{client.TTL(b.ttl), client.Wait(b.wait)}
	if b.load.Shared {
		opts = append(opts, client.Shared())
	}
	hide := b.showProgress()
	res, err := workload.Run(ctx, func(worker int) workload.Locker {
		return benchLocker{clients[worker%len(clients)], opts}
	}, b.load)
	hide()
	if err != nil {
		return exit.Usagef("%w", err)
	}
	if err := b.report(res); err != nil {
		return exit.Failure(err)
	}
	if i, ok := errors.AsType[exit.Interrupted](context.Cause(ctx)); ok {
		return &exit.Error{Code: exit.Signal + int(i.Sig)}
	}
	if res.Pairs == 0 {
		return exit.Failure(errors.New("no lock was acquired and released"))
	}
	return nil
}

// dialAll makes the clients. On an error it also returns the clients that it has made.
func (b *bench) dialAll(ctx context.Context) ([]*client.Client, error) {
	addrs, opts, err := b.options()
	if err != nil {
		return nil, err
	}
	opts.OnlyAddrs = b.route == routeAny
	var clients []*client.Client
	for range b.clients {
		c, err := client.Dial(ctx, addrs, opts)
		if err != nil {
			return clients, err
		}
		clients = append(clients, c)
		addrs = append(addrs[1:len(addrs):len(addrs)], addrs[0]) // each client begins at another node
	}
	return clients, nil
}

// benchLocker acquires locks of the mesh.
type benchLocker struct {
	c    *client.Client
	opts []client.Option
}

var _ workload.Locker = benchLocker{}

// Acquire implements workload.Locker.
func (b benchLocker) Acquire(ctx context.Context, key string) (workload.Held, error) {
	l, err := b.c.Acquire(ctx, key, b.opts...)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// benchKind returns the kind of an error as text, without details.
func benchKind(err error) string {
	for _, kind := range []error{client.ErrLost, client.ErrUnreachable, client.ErrClosed} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	if e, ok := errors.AsType[*sharelock.Error](err); ok && e.Err != nil {
		return e.Err.Error()
	}
	return text.OneLine(err)
}

// showProgress shows a progress line on stderr if that is a terminal. hide removes the line.
func (b *bench) showProgress() (hide func()) {
	f, ok := b.app.stderr.(*os.File)
	if !ok || !isTerminal(f) {
		return func() {}
	}
	const start = "\r\x1b[K" // go to the first column and clear the line
	b.load.Progress = func(p workload.Progress) { fmt.Fprint(f, start, progressLine(p)) }
	return func() { fmt.Fprint(f, start) }
}

// isTerminal reports whether a file is a character device other than the null device.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}
