package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/show"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// acquireFlags are the flags that lock and acquire share.
type acquireFlags struct {
	fs       *pflag.FlagSet
	wait     time.Duration
	nonblock bool
	ttl      time.Duration
	shared   bool
	slots    uint32
	metadata []string
	maxHold  time.Duration
}

func (f *acquireFlags) add(cmd *cobra.Command) {
	f.fs = cmd.Flags()
	f.fs.DurationVarP(&f.wait, "wait", "w", 0, "how long to wait for the lock (default: the node's default_wait)")
	f.fs.BoolVarP(&f.nonblock, "nonblock", "n", false, "do not wait; fail if the key is held")
	f.fs.DurationVar(&f.ttl, "ttl", 0, "how long the lock lives without a renewal (default: the node's default_ttl)")
	f.fs.BoolVarP(&f.shared, "shared", "s", false, "share the key with other shared holders")
	f.fs.Uint32Var(&f.slots, "slots", 0, "let this many clients hold the key together; all must use the same number")
	f.fs.StringArrayVar(&f.metadata, "metadata", nil, "name=value shown with the lock; may be repeated")
	f.fs.DurationVar(&f.maxHold, "max-hold", 0, "end the lock after this time, renewed or not (default: the mesh's max_hold)")
	cmd.MarkFlagsMutuallyExclusive("wait", "nonblock")
	cmd.MarkFlagsMutuallyExclusive("shared", "slots")
}

// options returns the options of the acquire.
func (f *acquireFlags) options() ([]client.Option, error) {
	opts := []client.Option{client.Slots(f.slots)}
	switch {
	case f.nonblock:
		opts = append(opts, client.Wait(0))
	case f.fs.Changed("wait"):
		if f.wait < 0 {
			return nil, exit.Usagef("--wait: %v is negative", f.wait)
		}
		opts = append(opts, client.Wait(f.wait))
	}
	if f.ttl != 0 || f.fs.Changed("ttl") {
		if f.ttl < sharelock.MinTTL {
			return nil, exit.Usagef("--ttl: %v is below the least, %v", f.ttl, sharelock.MinTTL)
		}
		opts = append(opts, client.TTL(f.ttl))
	}
	if f.maxHold != 0 {
		if err := sharelock.CheckMaxHold(f.maxHold); err != nil {
			return nil, exit.Usagef("--max-hold: %v is not within %v to %v", f.maxHold, sharelock.MinTTL, sharelock.MostMaxHold)
		}
		opts = append(opts, client.MaxHold(f.maxHold))
	}
	if f.shared {
		opts = append(opts, client.Shared())
	}
	if len(f.metadata) > 0 {
		m := make(map[string]string, len(f.metadata))
		for _, pair := range f.metadata {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				return nil, exit.Usagef("--metadata: %q is not name=value", pair)
			}
			m[name] = value
		}
		opts = append(opts, client.Metadata(m))
	}
	return opts, nil
}

func (a *app) acquireCommand() *cobra.Command {
	var (
		flags     acquireFlags
		requestID string
		verbose   bool
	)
	cmd := &cobra.Command{
		Use:     "acquire KEY",
		GroupID: groupLock,
		Short:   "Acquire a lock without keeping it renewed",
		Long: `Acquire a lock, print it, and exit. Nothing renews the lock: it ends after its TTL
unless you renew or release it by its token. To hold a lock while a command runs,
see "sharelock lock".

Exit codes: 0 obtained, 1 not obtained, 64 bad usage, 69 the mesh cannot be
reached, or cannot serve.`,
		Example: `  sharelock acquire orders/42 --ttl 30s --wait 5s
  token=$(sharelock acquire orders/42 -n -o json | jq -r .hold.token)
  sharelock release orders/42 "$token"`,
		Args: cobra.ExactArgs(1),
	}
	cmd = a.remoteCommand(cmd, withKey(func(key string, _ []string) (call, error) {
		opts, err := flags.options()
		opts = append(opts, client.NoRenew())
		if requestID != "" {
			opts = append(opts, client.RequestID(requestID))
		}
		return func(ctx context.Context, r *remote, c *client.Client) error {
			if verbose {
				tell, stop := r.positions(key)
				defer stop()
				opts = append(opts, client.OnQueued(tell))
			}
			l, err := c.Acquire(ctx, key, opts...)
			if err != nil {
				return exit.NotObtained(exit.OfCall(err), exit.Failed)
			}
			h := l.Hold()
			return r.print(&sharelockv1.AcquireResponse{Hold: sharelockv1.HoldToProto(h)}, func() error { return show.Hold(r.app.stdout, h) })
		}, err
	}))
	flags.add(cmd)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print the position in the queue on stderr")
	cmd.Flags().StringVar(&requestID, "request-id", "", "id of the request; a repeated acquire with the same id finds the same lock")
	return cmd
}

// positions returns a function that prints the position of an acquire in the queue on
// stderr, and a function that ends the printing.
func (r *remote) positions(key string) (tell func(position int), stop func()) {
	var (
		mu      sync.Mutex
		stopped bool // guarded by mu
	)
	tell = func(position int) {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			fmt.Fprintf(r.app.stderr, "sharelock: waiting for %s, position %d in the queue\n", text.Printable(key), position)
		}
	}
	stop = func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
	}
	return tell, stop
}
