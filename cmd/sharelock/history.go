package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/show"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

func (a *app) historyCommand() *cobra.Command {
	var at, from, to moment
	limit := sharelock.DefaultHistory
	cmd := &cobra.Command{
		Use:     "history KEY [--at TIME | --from TIME --to TIME]",
		GroupID: groupLock,
		Short:   "Show who held a key",
		Long: `Show who held KEY, the newest hold first: when, for how long, after which wait, and why
it ended. With --at only who held it at that time. A TIME is like 2006-01-02T15:04:05Z or
"2006-01-02 15:04:05" in the local time zone, or a duration: 10m is ten minutes ago.

All members are asked that may know. If something may be missing, a line says so.

Exit codes: 0 shown, 1 nobody is known to have held the key then, 64 bad usage, 69 the mesh
cannot be reached, or cannot answer.`,
		Example: `  sharelock history orders/42
  sharelock history orders/42 --at 10m
  sharelock history orders/42 --from 1h -o json | jq '.entries[].clientId'`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().Var(&at, "at", "only who held the key at this time")
	cmd.Flags().Var(&from, "from", "only holds that had not ended at this time")
	cmd.Flags().Var(&to, "to", "only holds that had begun at this time")
	cmd.Flags().IntVar(&limit, "limit", limit, "show at most this many holds, the newest")
	cmd.MarkFlagsMutuallyExclusive("at", "from")
	cmd.MarkFlagsMutuallyExclusive("at", "to")
	return a.remoteCommand(cmd, withKey(func(key string, _ []string) (call, error) {
		r := sharelock.HistoryRequest{Key: key, From: time.Time(from), To: time.Time(to), Limit: limit}
		if cmd.Flags().Changed("at") {
			r.From, r.To = time.Time(at), time.Time(at)
		}
		if err := r.Check(); err != nil {
			return nil, exit.Usagef("%w", err)
		}
		return func(ctx context.Context, out *remote, _ *client.Client) error { return out.history(ctx, r) }, nil
	}))
}

// history prints who held a key.
func (r *remote) history(ctx context.Context, request sharelock.HistoryRequest) error {
	var resp sharelockv1.HistoryResponse
	if err := r.invoke(ctx, sharelockv1.LockService_History_FullMethodName, sharelockv1.HistoryRequestToProto(request), &resp); err != nil {
		return err
	}
	h := sharelockv1.HistoryFromProto(&resp)
	if err := r.print(&resp, func() error { return show.History(r.app.stdout, r.app.stderr, h) }); err != nil {
		return err
	}
	if len(h.Entries) == 0 {
		return &exit.Error{Code: exit.Failed}
	}
	return nil
}

// A moment is the value of a flag: a time, or how long ago it is.
type moment time.Time

// Set implements pflag.Value.
func (m *moment) Set(s string) error {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		*m = moment(time.Now().Add(-d))
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", time.DateTime + ".999999999", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			*m = moment(t)
			return nil
		}
	}
	return fmt.Errorf("%q is neither a time like 2006-01-02T15:04:05Z nor a duration like 10m", s)
}

// String implements pflag.Value.
func (m *moment) String() string {
	if time.Time(*m).IsZero() {
		return ""
	}
	return time.Time(*m).Format(time.RFC3339Nano)
}

// Type implements pflag.Value.
func (m *moment) Type() string { return "TIME" }
