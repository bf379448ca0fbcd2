package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock/client"
)

func (a *app) healthCommand() *cobra.Command {
	var ready bool
	cmd := &cobra.Command{
		Use:     "health",
		GroupID: groupNode,
		Short:   "Tell by the exit code whether a node is alive, or ready",
		Long: `Tell by the exit code whether the node that --server names is alive: 0 if it answers,
69 if it does not. With --ready it must also be able to serve locks. It needs no other
program, so that it works as a probe in an image that has only this one.`,
		Example: `  sharelock health --ready --server 127.0.0.1:50052`,
		Args:    cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "fail also if the node cannot serve locks")
	return a.nodeCommand(cmd, func([]string) (call, error) {
		return func(ctx context.Context, r *remote, c *client.Client) error {
			m, err := c.Mesh(ctx)
			if err != nil {
				return err
			}
			if ready {
				if err := cannotServeNow(m); err != nil {
					return err
				}
			}
			status := "alive"
			if m.LeaseValid {
				status = "ready"
			}
			if r.output == "json" {
				_, err = fmt.Fprintf(a.stdout, "{\"status\": %q}\n", status)
			} else {
				_, err = fmt.Fprintln(a.stdout, status)
			}
			return err
		}, nil
	})
}
