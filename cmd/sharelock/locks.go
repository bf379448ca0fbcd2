package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
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
			return r.print(&sharelockv1.GetResponse{Lock: sharelockv1.LockToProto(l)}, func() error { return r.printLock(l) })
		}
		if *watch {
			return keepCurrent(one, &sharelock.WatchRequest{Key: key}), nil
		}
		return one, nil
	}))
	watch = watchFlag(cmd)
	return cmd
}

func (r *remote) printLock(l sharelock.KeyState) error {
	rows := [][]string{
		{"key", text.Printable(l.Key)},
		{"partition", strconv.FormatUint(uint64(l.Partition), 10)},
		{"owner", text.OrNone(l.Owner)},
		{"epoch", strconv.FormatUint(uint64(l.Epoch), 10)},
	}
	if l.Quarantine > 0 {
		rows = append(rows, []string{"quarantine", text.Short(l.Quarantine)})
	}
	if err := text.Table(r.app.stdout, rows); err != nil {
		return err
	}
	if len(l.Holds) > 0 {
		fmt.Fprintln(r.app.stdout, "\nheld by")
		if err := text.Table(r.app.stdout, holdRows(l.Holds)); err != nil {
			return err
		}
		r.printMore(l.HoldCount - len(l.Holds))
	}
	if len(l.Waiters) > 0 {
		fmt.Fprintln(r.app.stdout, "\nwaiting")
		if err := text.Table(r.app.stdout, waiterRows(l.Waiters)); err != nil {
			return err
		}
		r.printMore(l.WaiterCount - len(l.Waiters))
	}
	return nil
}

// printMore prints how many entries the answer does not list.
func (r *remote) printMore(n int) {
	if n > 0 {
		fmt.Fprintf(r.app.stdout, "and %d more\n", n)
	}
}

// holdRows has a column for principals if there are any.
func holdRows(holds []sharelock.Hold) [][]string {
	rows := [][]string{{"TOKEN", "CLIENT", "MODE", "TTL", "EXPIRES IN", "METADATA"}}
	principals := make([]string, 0, len(holds))
	for _, h := range holds {
		rows = append(rows, []string{
			h.Token.String(), text.OrNone(h.ClientID), mode(h.Mode, h.Slots), text.Short(h.TTL), text.Short(h.ExpiresIn), pairs(h.Metadata),
		})
		principals = append(principals, h.Principal)
	}
	return withPrincipals(rows, 2, principals)
}

// withPrincipals inserts a column at an index into the rows below a head, unless no principal has a name.
func withPrincipals(rows [][]string, at int, principals []string) [][]string {
	if !slices.ContainsFunc(principals, func(name string) bool { return name != "" }) {
		return rows
	}
	rows[0] = slices.Insert(rows[0], at, "PRINCIPAL")
	for i, name := range principals {
		rows[i+1] = slices.Insert(rows[i+1], at, text.OrNone(name))
	}
	return rows
}

// waiterRows has a column for principals if there are any.
func waiterRows(waiters []sharelock.Waiter) [][]string {
	rows := [][]string{{"PLACE", "CLIENT", "MODE", "WAITING", "METADATA"}}
	principals := make([]string, 0, len(waiters))
	for i, w := range waiters {
		rows = append(rows, []string{
			strconv.Itoa(i + 1), text.OrNone(w.ClientID), mode(w.Mode, w.Slots), text.Short(w.Waiting), pairs(w.Metadata),
		})
		principals = append(principals, w.Principal)
	}
	return withPrincipals(rows, 2, principals)
}

// pairs returns metadata as text, sorted by name.
func pairs(m map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, text.Printable(name+"="+m[name]))
	}
	return text.OrDash(strings.Join(out, " "))
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
			return r.print(message, func() error { return text.Table(r.app.stdout, lockRows(page.Locks)) })
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

func lockRows(locks []sharelock.KeyState) [][]string {
	rows := [][]string{{"KEY", "HOLDER", "TOKEN", "MODE", "EXPIRES IN", "WAITING", "OWNER"}}
	principals := make([]string, 0, len(locks))
	for _, l := range locks {
		row := []string{text.Printable(l.Key), "-", "-", "-", "-", strconv.Itoa(max(l.WaiterCount, len(l.Waiters))), text.OrNone(l.Owner)}
		principal := ""
		if len(l.Holds) > 0 {
			h := l.Holds[0]
			principal = h.Principal
			row[1], row[2], row[3], row[4] = text.OrNone(h.ClientID), h.Token.String(), mode(h.Mode, h.Slots), text.Short(h.ExpiresIn)
			if more := max(l.HoldCount, len(l.Holds)) - 1; more > 0 {
				row[1] += fmt.Sprintf(" and %d more", more)
			}
		}
		rows, principals = append(rows, row), append(principals, principal)
	}
	return withPrincipals(rows, 2, principals)
}
