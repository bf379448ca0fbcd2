package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock/client"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

func (a *app) membersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "members",
		GroupID: groupMesh,
		Short:   "Show the members of the mesh as one node sees them",
		Example: `  sharelock members
  sharelock members --server 10.0.0.2:50052 -o json`,
		Args: cobra.NoArgs,
	}
	return a.nodeCommand(cmd, func([]string) (call, error) {
		return func(ctx context.Context, r *remote, c *client.Client) error {
			m, err := c.Mesh(ctx)
			if err != nil {
				return err
			}
			return r.print(m, func() error { return r.printMesh(m) })
		}, nil
	})
}

func (r *remote) printMesh(m *sharelockv1.GetMeshResponse) error {
	lease := "none"
	if m.GetLease().GetValid() {
		lease = "valid for " + short(m.GetLease().GetRemaining().AsDuration())
	}
	rows := [][]string{
		{"cluster", orNone(m.GetCluster())},
		{"node", orNone(m.GetNode())},
		{"epoch", number32(m.GetEpoch())},
		{"leader", orNone(m.GetLeader())},
		{"lease", lease},
		{"release", number32(m.GetRelease())},
		{"partitions", fmt.Sprintf("%d, %s; active here %d, in quarantine %d",
			m.GetPartitions(), copies(m.GetReplicas()), m.GetActive(), m.GetQuarantined())},
	}
	for _, stall := range m.GetStalls() {
		rows = append(rows, []string{"waits for", orNone(stall.GetMember()) + ", since " + short(stall.GetWaiting().AsDuration())})
	}
	if err := table(r.app.stdout, rows); err != nil {
		return err
	}
	fmt.Fprintln(r.app.stdout)
	rows = [][]string{{"MEMBER", "VOTER", "STATE", "RELEASE", "OWNS", "BACKS", "HTTP", "GRPC", "PEER", "ID"}}
	for _, member := range m.GetMembers() {
		voter, state := "no", "in"
		if member.GetVoter() {
			voter = "yes"
		}
		if member.GetLeaving() {
			state = "leaving"
		}
		rows = append(rows, []string{
			orNone(member.GetName()), voter, state, number32(member.GetRelease()), number32(member.GetOwns()), number32(member.GetBacks()),
			orNone(member.GetHttp()), orNone(member.GetGrpc()), orNone(member.GetPeer()), orNone(member.GetId()),
		})
	}
	return table(r.app.stdout, rows)
}

func copies(n uint32) string {
	if n == 1 {
		return "1 copy"
	}
	return number32(n) + " copies"
}

func number32(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func (a *app) locateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "locate KEY",
		GroupID: groupMesh,
		Short:   "Show which member owns a key, and which have copies",
		Example: `  sharelock locate orders/42`,
		Args:    cobra.ExactArgs(1),
	}
	return a.remoteCommand(cmd, withKey(func(key string, _ []string) (call, error) {
		return func(ctx context.Context, r *remote, c *client.Client) error {
			where, err := c.Locate(ctx, key)
			if err != nil {
				return err
			}
			return r.print(where, func() error { return r.printLocation(where) })
		}, nil
	}))
}

func (r *remote) printLocation(where *sharelockv1.LocateResponse) error {
	backups := make([]string, len(where.GetBackups()))
	for i, b := range where.GetBackups() {
		backups[i] = printable(b)
	}
	return table(r.app.stdout, [][]string{
		{"key", printable(where.GetKey())},
		{"partition", number32(where.GetPartition())},
		{"owner", orNone(where.GetOwner())},
		{"backups", orDash(strings.Join(backups, ", "))},
		{"epoch", number32(where.GetEpoch())},
	})
}

func (a *app) leaveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "leave",
		GroupID: groupMesh,
		Short:   "Make a node leave the mesh in good order",
		Long: `Make the node that --server names leave the mesh in good order: it hands over
what it owns, and its process ends. The command returns when it has left. It is
sent to that node alone, and once. For administrators.`,
		Example: `  sharelock leave --server 10.0.0.3:50052`,
		Args:    cobra.NoArgs,
	}
	return a.nodeCommand(cmd, func([]string) (call, error) {
		return func(ctx context.Context, r *remote, c *client.Client) error {
			if err := c.Leave(ctx); err != nil {
				return err
			}
			return r.print(&sharelockv1.LeaveResponse{}, func() error {
				_, err := fmt.Fprintf(r.app.stdout, "%s has left\n", r.servers)
				return err
			})
		}, nil
	})
}
