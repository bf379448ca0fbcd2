package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/show"
	"github.com/sgkandale/sharelock/internal/intconv"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

func (a *app) getCommand() *cobra.Command {
	var watch *bool
	cmd := &cobra.Command{
		Use:     "get KEY",
		GroupID: groupLock,
		Short:   "Show the holders and waiters of a key",
		Long: `Show the holders of a key, and its waiters in the order of the queue. With --watch they
are shown again whenever they change, and a line says when another node becomes the owner.

Exit codes: 0 shown, 1 nobody holds the key or waits for it, 64 bad usage, 69 the
mesh cannot be reached, or cannot answer.`,
		Example: `  sharelock get orders/42
  sharelock get orders/42 --watch
  sharelock get orders/42 -o json | jq '.lock.holds[].clientId'`,
		Args: cobra.ExactArgs(1),
	}
	cmd = a.remoteCommand(cmd, withKey(func(key string, _ []string) (call, error) {
		one := func(ctx context.Context, r *remote, c *client.Client) error {
			l, err := c.Get(ctx, key)
			if err != nil {
				return err
			}
			return r.print(&sharelockv1.GetResponse{Lock: sharelockv1.LockToProto(l)}, func() error { return show.Key(r.app.stdout, l) })
		}
		if *watch {
			return keepCurrent(one, &sharelock.WatchRequest{Key: key}), nil
		}
		return one, nil
	}))
	watch = watchFlag(cmd)
	return cmd
}

func (a *app) listCommand() *cobra.Command {
	var (
		holder string
		limit  int
		watch  *bool
	)
	cmd := &cobra.Command{
		Use:     "list [PREFIX]",
		GroupID: groupLock,
		Short:   "Show the keys that are held or waited for",
		Long: `Show the keys that are held or waited for, sorted by key: all of them, or those that
begin with PREFIX. With --watch they are shown again whenever one of them changes.

Exit codes: 0 shown, even if there are none, 1 failed, 64 bad usage, 69 the mesh
cannot be reached.`,
		Example: `  sharelock list orders/
  sharelock list --client worker-7 -o json | jq -r '.locks[].key'`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd = a.remoteCommand(cmd, func(args []string) (call, error) {
		if limit < 0 {
			return nil, exit.Usagef("--limit: %d is negative", limit)
		}
		req := sharelock.ListRequest{ClientID: holder}
		if len(args) == 1 {
			req.Prefix = args[0]
		}
		one := func(ctx context.Context, r *remote, c *client.Client) error {
			page, err := listAll(ctx, c, req, limit)
			if err != nil {
				return err
			}
			if n := page.Quarantined; n > 0 {
				fmt.Fprintf(r.app.stderr, "sharelock: %d partitions are in quarantine: locks that may still exist in them are not listed\n", n)
			}
			message := &sharelockv1.ListResponse{
				Locks: sharelockv1.LocksToProto(page.Locks), NextPageToken: page.NextPageToken, Quarantined: intconv.Uint32(page.Quarantined),
			}
			return r.print(message, func() error { return show.Keys(r.app.stdout, page.Locks) })
		}
		if *watch {
			return keepCurrent(one, &sharelock.WatchRequest{Prefix: req.Prefix}), nil
		}
		return one, nil
	})
	watch = watchFlag(cmd)
	cmd.Flags().StringVar(&holder, "client", "", "only keys that this client holds or waits for")
	cmd.Flags().IntVar(&limit, "limit", 0, "show at most this many keys (default: all)")
	return cmd
}

// listAll returns all pages as one, up to limit locks if limit is not 0.
func listAll(ctx context.Context, c *client.Client, req sharelock.ListRequest, limit int) (sharelock.ListPage, error) {
	var all sharelock.ListPage
	for {
		req.PageSize, req.PageToken = sharelock.MaxPageSize, all.NextPageToken
		if limit > 0 {
			req.PageSize = min(req.PageSize, limit-len(all.Locks))
		}
		page, err := c.List(ctx, req)
		if err != nil {
			return sharelock.ListPage{}, err
		}
		all.Locks = append(all.Locks, page.Locks...)
		all.NextPageToken = page.NextPageToken
		all.Quarantined = max(all.Quarantined, page.Quarantined)
		if page.NextPageToken == "" || limit > 0 && len(all.Locks) >= limit {
			return all, nil
		}
	}
}
