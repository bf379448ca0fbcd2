package main

import (
	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/config"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/host"
)

func (a *app) devCommand() *cobra.Command {
	var (
		nodes, port int
		level       string
		secure      bool
		dir         string
	)
	cmd := &cobra.Command{
		Use:     "dev",
		GroupID: groupNode,
		Short:   "Run a whole mesh in one process, for trying things out",
		Long: `Run a whole mesh in one process, on loopback and in memory. Nothing is written to
disk, and all state is lost when the command ends.

Node i, from 0, listens on HTTP 50051+10i, gRPC 50052+10i, peers 50053+10i and
gossip 50054+10i. A node that is told to leave ends alone; the command ends with the
last node.

With --tls the command makes an authority and certificates, which end with it, and
prints how to use them. --tls-dir keeps their files.`,
		Example: `  sharelock dev
  sharelock dev --nodes 5 --log-level info
  sharelock dev --tls`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := config.Default()
			if err := c.SetLevel(level); err != nil {
				return exit.Usagef("--log-level: %w", err)
			}
			if nodes < 1 || nodes > host.MostDevNodes {
				return exit.Usagef("--nodes: want 1 to %d, got %d", host.MostDevNodes, nodes)
			}
			if last := port + (nodes-1)*host.DevStep + 3; port < 1 || last > 65535 {
				return exit.Usagef("--port: %d leaves no room for %d nodes", port, nodes)
			}
			return a.host().Dev(cmd.Context(), c, host.DevMesh{Nodes: nodes, Port: port, TLS: secure || dir != "", Dir: dir})
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", 3, "number of nodes")
	cmd.Flags().IntVar(&port, "port", host.DevPort, "HTTP port of the first node")
	cmd.Flags().BoolVar(&secure, "tls", false, "use TLS, between the nodes and for clients")
	cmd.Flags().StringVar(&dir, "tls-dir", "", "with --tls: the folder for the files of the authority and of a client (default: a temporary one)")
	cmd.Flags().StringVar(&level, "log-level", "warn", "debug, info, warn or error")
	return cmd
}
