package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
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
			if err := r.print(sharelockv1.MeshToProto(m), func() error { return r.printMesh(m) }); err != nil {
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

func (r *remote) printMesh(m sharelock.MeshState) error {
	lease := "none"
	if m.LeaseValid {
		lease = "valid for " + text.Short(m.LeaseRemaining)
	}
	rows := [][]string{
		{"cluster", text.OrNone(m.Cluster)},
		{"node", text.OrNone(m.Node)},
		{"epoch", number32(m.Epoch)},
		{"leader", text.OrNone(m.Leader)},
		{"lease", lease},
		{"release", number32(m.Release)},
		{"partitions", fmt.Sprintf("%d, %s; active here %d, in quarantine %d",
			m.Partitions, copies(m.Replicas), m.Active, m.Quarantined)},
	}
	if len(m.Seats) > 0 {
		rows = append(rows, []string{"voters", seats(m)})
	}
	for _, stall := range m.Stalls {
		rows = append(rows, []string{"waits for", text.OrNone(stall.Member) + ", since " + text.Short(stall.Waiting)})
	}
	if err := text.Table(r.app.stdout, rows); err != nil {
		return err
	}
	fmt.Fprintln(r.app.stdout)
	rows = [][]string{{"MEMBER", "VOTER", "STATE", "RELEASE", "OWNS", "BACKS", "HTTP", "GRPC", "PEER", "ID"}}
	for _, member := range m.Members {
		voter, state := "no", "in"
		if member.Voter {
			voter = "yes"
		}
		switch {
		case member.Silent:
			state = "silent"
		case member.Leaving:
			state = "leaving"
		}
		rows = append(rows, []string{
			text.OrNone(member.Name), voter, state, number32(member.Release), strconv.Itoa(member.Owns), strconv.Itoa(member.Backs),
			text.OrNone(member.HTTP), text.OrNone(member.GRPC), text.OrNone(member.Peer), text.OrNone(member.ID),
		})
	}
	for _, s := range m.Seats {
		if s.Absent { // no longer a member, but the mesh counts on its vote
			state := "absent"
			if s.Silent {
				state = "dead"
			}
			rows = append(rows, []string{text.OrNone(s.Name), "yes", state, "-", "0", "0", "-", "-", text.OrNone(s.Peer), text.OrNone(s.ID)})
		}
	}
	if err := text.Table(r.app.stdout, rows); err != nil {
		return err
	}
	for i, c := range m.Conditions {
		if i == 0 {
			fmt.Fprintln(r.app.stdout)
		}
		level := "WARNING"
		if c.Severe {
			level = "ERROR"
		}
		if _, err := fmt.Fprintf(r.app.stdout, "%s: %s\n", level, text.Printable(c.Message)); err != nil {
			return err
		}
	}
	return nil
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

// seats returns how many voters answer, and how many more may fail, as text.
func seats(m sharelock.MeshState) string {
	answering := 0
	for _, s := range m.Seats {
		if !s.Silent {
			answering++
		}
	}
	text := fmt.Sprintf("%d of %d voters answer; ", answering, len(m.Seats))
	switch {
	case answering < len(m.Seats)/2+1:
		return text + "no majority"
	case m.Survives == 0:
		return text + "none may fail"
	}
	return text + fmt.Sprintf("%d more may fail", m.Survives)
}

func copies(n int) string {
	if n == 1 {
		return "1 copy"
	}
	return strconv.Itoa(n) + " copies"
}

func number32(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

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
			return r.print(sharelockv1.LocationToProto(where), func() error { return r.printLocation(where) })
		}, nil
	}))
}

func (r *remote) printLocation(where sharelock.Location) error {
	backups := make([]string, len(where.Backups))
	for i, b := range where.Backups {
		backups[i] = text.Printable(b)
	}
	return text.Table(r.app.stdout, [][]string{
		{"key", text.Printable(where.Key)},
		{"partition", number32(where.Partition)},
		{"owner", text.OrNone(where.Owner)},
		{"backups", text.OrDash(strings.Join(backups, ", "))},
		{"epoch", number32(where.Epoch)},
	})
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
