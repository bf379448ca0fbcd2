package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/show"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

func (a *app) renewCommand() *cobra.Command {
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:     "renew KEY TOKEN",
		GroupID: groupLock,
		Short:   "Renew a lock",
		Long: `Renew a lock: its TTL starts again.

Exit codes: 0 renewed, 1 the token is not a lock of this key (any more), 64 bad
usage, 69 the mesh cannot be reached.`,
		Example: `  sharelock renew orders/42 256460173377011713 --ttl 30s`,
		Args:    cobra.ExactArgs(2),
	}
	cmd = a.remoteCommand(cmd, withKey(func(key string, rest []string) (call, error) {
		token, err := parseToken(rest[0])
		return func(ctx context.Context, r *remote, c *client.Client) error {
			h, err := c.RenewToken(ctx, key, token, ttl)
			if err != nil {
				return err
			}
			return r.print(&sharelockv1.RenewResponse{Hold: sharelockv1.HoldToProto(h)}, func() error { return show.Hold(r.app.stdout, h) })
		}, err
	}))
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "a new TTL (default: the TTL of the lock)")
	return cmd
}

func (a *app) releaseCommand() *cobra.Command {
	var (
		force  bool
		reason string
	)
	cmd := &cobra.Command{
		Use:     "release KEY TOKEN",
		GroupID: groupLock,
		Short:   "Release a lock",
		Long: `Release a lock. A token that is not a lock of this key (any more) does not affect
the present holder of the key.

With --force, take the lock from its holder, who may not notice before its next
renewal. --force without a TOKEN takes all locks of the key. For administrators.

Exit codes: 0 released, 1 the token is not a lock of this key (any more), 64 bad
usage, 69 the mesh cannot be reached.`,
		Example: `  sharelock release orders/42 256460173377011713
  sharelock release orders/42 --force --reason "worker 7 is gone"`,
		Args: cobra.RangeArgs(1, 2),
	}
	cmd = a.remoteCommand(cmd, withKey(func(key string, rest []string) (call, error) {
		var token sharelock.Token
		var err error
		switch {
		case len(rest) > 0:
			token, err = parseToken(rest[0])
		case !force:
			err = exit.Usagef("TOKEN is missing: give it, or use --force")
		}
		if reason != "" && !force {
			err = exit.Usagef("--reason needs --force")
		}
		if force {
			return forceRelease(key, token, reason), err
		}
		return func(ctx context.Context, r *remote, c *client.Client) error {
			h, err := c.ReleaseToken(ctx, key, token)
			if err != nil {
				return err
			}
			return r.print(&sharelockv1.ReleaseResponse{Hold: sharelockv1.HoldToProto(h)}, func() error { return show.Hold(r.app.stdout, h) })
		}, err
	}))
	cmd.Flags().BoolVar(&force, "force", false, "take the lock from its holder")
	cmd.Flags().StringVar(&reason, "reason", "", "the reason, for the log; needs --force")
	return cmd
}

func forceRelease(key string, token sharelock.Token, reason string) call {
	return func(ctx context.Context, r *remote, c *client.Client) error {
		holds, err := c.ForceRelease(ctx, key, token, reason)
		if err != nil {
			return err
		}
		message := &sharelockv1.ForceReleaseResponse{Holds: sharelockv1.HoldsToProto(holds)}
		if len(message.Holds) > 0 {
			message.Hold = message.Holds[0]
		}
		return r.print(message, func() error { return show.Holds(r.app.stdout, holds) })
	}
}
