package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/show"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

func (a *app) membersCommand() *cobra.Command {
	var watch *bool
	cmd := &cobra.Command{
		Use:     "members",
		GroupID: groupMesh,
		Short:   "Show the members of the mesh as one node sees them",
		Long: `Show the members of the mesh as one node sees them, those that do not answer, and what
an operator should know, the worst first. The exit code is 69 if the node cannot serve.

With --watch the node is asked every second, and what has changed is shown again. When the
node does not answer, a line says so, and the command goes on.`,
		Example: `  sharelock members
  sharelock members --server 10.0.0.2:50052 -o json`,
		Args: cobra.NoArgs,
	}
	cmd = a.nodeCommand(cmd, func([]string) (call, error) {
		one := func(ctx context.Context, r *remote, c *client.Client) error {
			m, err := c.Mesh(ctx)
			if err != nil {
				return err
			}
			if err := r.print(sharelockv1.MeshToProto(m), func() error { return show.Mesh(r.app.stdout, m) }); err != nil {
				return err
			}
			return cannotServeNow(m)
		}
		if *watch {
			return keepCurrent(one, nil), nil
		}
		return one, nil
	})
	watch = watchFlag(cmd)
	return cmd
}

// cannotServeNow returns an error if a node that has answered cannot serve.
func cannotServeNow(m sharelock.MeshState) error {
	if m.LeaseValid {
		return nil
	}
	why := "the node has no lease"
	if len(m.Conditions) > 0 {
		why = m.Conditions[0].Message
	}
	return &exit.Error{Code: exit.Unreachable, Err: fmt.Errorf("node %s cannot serve: %s", text.OrNone(m.Node), text.Printable(why))}
}

func (a *app) locateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "locate KEY",
		GroupID: groupMesh,
		Short:   "Show the owner and the backups of a key",
		Example: `  sharelock locate orders/42`,
		Args:    cobra.ExactArgs(1),
	}
	return a.remoteCommand(cmd, withKey(func(key string, _ []string) (call, error) {
		return func(ctx context.Context, r *remote, c *client.Client) error {
			where, err := c.Locate(ctx, key)
			if err != nil {
				return err
			}
			return r.print(sharelockv1.LocationToProto(where), func() error { return show.Location(r.app.stdout, where) })
		}, nil
	}))
}

func (a *app) decommissionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "decommission NAME",
		GroupID: groupMesh,
		Short:   "Give up the seat of a node that will not come back",
		Long: `Give up the seat (the vote) of an absent node that will not come back. NAME is the
node's name, or its id if several nodes had the name. Any node accepts this command.
For a running node use 'sharelock leave --for-good' instead. For administrators.`,
		Example: `  sharelock decommission c`,
		Args:    cobra.ExactArgs(1),
	}
	return a.remoteCommand(cmd, func(args []string) (call, error) {
		return func(ctx context.Context, r *remote, _ *client.Client) error {
			var resp sharelockv1.DecommissionResponse
			req := &sharelockv1.DecommissionRequest{Name: args[0]}
			if err := r.invoke(ctx, sharelockv1.MeshService_Decommission_FullMethodName, req, &resp); err != nil {
				return fmt.Errorf("decommission %q: %w", args[0], err)
			}
			return r.print(&resp, func() error {
				_, err := fmt.Fprintf(r.app.stdout, "the seat of %s is given up\n", text.Printable(args[0]))
				return err
			})
		}, nil
	})
}

func (a *app) leaveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "leave",
		GroupID: groupMesh,
		Short:   "Make a node leave the mesh in good order",
		Long: `Make the node that --server names leave the mesh in good order: it hands over its
partitions, and its process ends. The command returns when the node has left. It is
sent to that node only, and only once. For administrators.

A node that leaves keeps its seat (its vote) until it is back or another node takes
it. With --for-good it gives up its seat, because it will not come back.`,
		Example: `  sharelock leave --server 10.0.0.3:50052
  sharelock leave --for-good --server 10.0.0.3:50052`,
		Args: cobra.NoArgs,
	}
	forGood := cmd.Flags().Bool("for-good", false, "also give up the node's seat: it will not come back")
	return a.nodeCommand(cmd, func([]string) (call, error) {
		return func(ctx context.Context, r *remote, c *client.Client) error {
			if err := c.Leave(ctx, *forGood); err != nil {
				return err
			}
			return r.print(&sharelockv1.LeaveResponse{}, func() error {
				_, err := fmt.Fprintf(r.app.stdout, "%s has left\n", r.servers)
				return err
			})
		}, nil
	})
}
