package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/show"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

func (a *app) watchCommand() *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:     "watch KEY | --prefix PREFIX",
		GroupID: groupLock,
		Short:   "Follow a key, or all keys with a prefix",
		Long: `Print what happens to a key, or to all keys that begin with PREFIX, a line for each
event: first the present holders and waiters (snapshot) and "synced", then every change. When
the owner of the key changes, the line "moved" says so, and the present state follows again.
When the connection is lost, the watch goes on at another node. With -o json each line is one
event of the API.

Exit codes: 0 interrupted, 1 failed, 64 bad usage.`,
		Example: `  sharelock watch orders/42
  sharelock watch --prefix orders/ -o json | jq -r .type`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "follow all keys with this prefix; empty follows every key")
	return a.remoteCommand(cmd, func(args []string) (call, error) {
		r := sharelock.WatchRequest{Prefix: prefix}
		given := cmd.Flags().Changed("prefix")
		switch {
		case len(args) == 1 && given:
			return nil, exit.Usagef("give a KEY or --prefix, not both")
		case len(args) == 0 && !given:
			return nil, exit.Usagef("give a KEY or --prefix")
		case len(args) == 1:
			if err := sharelock.CheckKey(args[0]); err != nil {
				return nil, exit.Usagef("%w", err)
			}
			r.Key = args[0]
		}
		return func(ctx context.Context, out *remote, c *client.Client) error { return out.watch(ctx, c, r) }, nil
	})
}

// watch prints events until ctx ends. While no node answers it says so, once, and continues.
func (r *remote) watch(ctx context.Context, c *client.Client, request sharelock.WatchRequest) error {
	return r.followWatch(ctx, c, request, r.printEvent, func(err error) { fmt.Fprintln(r.app.stderr, noAnswer(err)) })
}

// followWatch passes events to each until ctx ends or each fails. While no node answers it calls
// silent, once, and continues.
func (r *remote) followWatch(
	ctx context.Context, c *client.Client, request sharelock.WatchRequest, each func(e *sharelock.Event) error, silent func(error),
) error {
	told := false
	for {
		var failed error
		for e, err := range c.Watch(ctx, request) {
			if err != nil {
				failed = err
				break
			}
			told = false
			switch {
			case e.Type == sharelock.Reset, e.Type == sharelock.Moved:
				request.Resume = ""
			case e.Cursor != "":
				request.Resume = e.Cursor
			}
			if err := each(&e); err != nil {
				return err
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.Is(failed, client.ErrUnreachable):
			return failed
		case !told:
			told = true
			silent(failed)
		}
	}
}

// printEvent prints one line.
func (r *remote) printEvent(e *sharelock.Event) error {
	if r.output == "json" {
		data, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(sharelockv1.EventToProto(e))
		if err == nil {
			_, err = fmt.Fprintf(r.app.stdout, "%s\n", data)
		}
		return err
	}
	if e.Type == sharelock.Ping {
		return nil
	}
	_, err := fmt.Fprintln(r.app.stdout, show.Event(e))
	return err
}
