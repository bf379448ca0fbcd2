package main

import (
	"bufio"
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/show"
	"github.com/sgkandale/sharelock/mesh"
	"github.com/sgkandale/sharelock/mesh/keyring"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// keyringCommand shows and changes the gossip keys.
func (a *app) keyringCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "keyring",
		GroupID: groupMesh,
		Short:   "Show and change the keys that encrypt gossip",
		Long: `Show and change the keys that encrypt gossip, on all members at once. Any node
accepts these commands. A key is named by its fingerprint, 16 hexadecimal digits.

A change is done when every member of the mesh has stored it. Otherwise the command
fails and names the members that have not; it can be repeated. With
mesh.gossip_keys_file the keys come from that file, and only list works.
For administrators. See docs/security.md.`,
		Example: `  sharelock keyring list
  sharelock keyring rotate`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.keyringGenerateCommand(), a.keyringListCommand(), a.keyringInstallCommand(),
		a.keyringUseCommand(), a.keyringRemoveCommand(), a.keyringRotateCommand(),
	)
	return cmd
}

func (a *app) keyringGenerateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "generate",
		Short: "Print a new key",
		Long: `Print a new key: a line of a file for mesh.gossip_keys_file, or an argument of
'sharelock keyring install'. The command changes nothing.`,
		Example: `  sharelock keyring generate > gossip.keys`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			a.printf("%s\n", keyring.Generate().Text())
			return nil
		},
	}
}

func (a *app) keyringListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the keys, and how many members have each",
		Example: `  sharelock keyring list
  sharelock keyring list --show-keys`,
		Args: cobra.NoArgs,
	}
	secrets := cmd.Flags().Bool("show-keys", false, "show the keys themselves, too")
	return a.remoteCommand(cmd, func([]string) (call, error) {
		return func(ctx context.Context, r *remote, _ *client.Client) error {
			var resp sharelockv1.GetKeyringResponse
			if err := r.invoke(ctx, sharelockv1.MeshService_GetKeyring_FullMethodName, &sharelockv1.GetKeyringRequest{ShowKeys: *secrets}, &resp); err != nil {
				return err
			}
			return r.print(&resp, func() error {
				return show.Keyring(r.app.stdout, sharelockv1.KeyringFromProto(resp.GetKeyring()), *secrets)
			})
		}, nil
	})
}

func (a *app) keyringInstallCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "install KEY",
		Short: "Add a key on all members, or in the data directory of one node",
		Long: `Add a key on all members. They can read with it, and go on encrypting with the primary
key. The first key of a mesh is the primary one.

With --data-dir the key is put into the data directory of a node that does not run, as
its primary key, and no node is called. A new node of a mesh that encrypts needs that
before its first start, and so does one that was away while the keys were rotated.

KEY - is read from the standard input, so that it is not in the list of processes.`,
		Example: `  sharelock keyring generate | sharelock keyring install -
  sharelock keyring install --data-dir ./data - < key`,
		Args: cobra.ExactArgs(1),
	}
	dir := cmd.Flags().String("data-dir", "", "put the key into this data directory instead")
	cmd = a.keyringChangeCommand(cmd, sharelock.InstallKey, nil)
	live := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("data-dir") {
			return live(cmd, args)
		}
		k, err := a.keyArgument(args[0])
		if err != nil {
			return err
		}
		if err := mesh.InstallGossipKey(*dir, k); err != nil {
			return exit.Failure(err)
		}
		a.printf("%v is the primary gossip key in %s\n", k, *dir)
		return nil
	}
	return cmd
}

func (a *app) keyringUseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "use KEY",
		Short:   "Encrypt with another key, on all members",
		Long:    `Make a key the primary one, which encrypts, on all members. Every member must have it.`,
		Example: `  sharelock keyring use 8ecae77e1eea4271`,
		Args:    cobra.ExactArgs(1),
	}
	return a.keyringChangeCommand(cmd, sharelock.UseKey, withoutAbsent(cmd))
}

func (a *app) keyringRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "remove KEY",
		Short:   "Remove a key from all members",
		Long:    `Remove a key from all members. It must not be the primary key of any of them.`,
		Example: `  sharelock keyring remove a94ca083eec82489`,
		Args:    cobra.ExactArgs(1),
	}
	return a.keyringChangeCommand(cmd, sharelock.RemoveKey, withoutAbsent(cmd))
}

func (a *app) keyringRotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace all keys by a new one, on all members",
		Long: `Replace all keys by a new one: the node makes a key, installs it on all members, makes
it the primary one, and removes all others. No call fails meanwhile. The key is never
sent to a client.`,
		Example: `  sharelock keyring rotate`,
		Args:    cobra.NoArgs,
	}
	return a.keyringChangeCommand(cmd, sharelock.RotateKeys, withoutAbsent(cmd))
}

func withoutAbsent(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("without-absent", false, "make the change although a node that has a seat is away; it cannot come back before it is given the key")
}

// keyringChangeCommand completes a command that changes the keys of all members.
func (a *app) keyringChangeCommand(cmd *cobra.Command, action sharelock.KeyringAction, without *bool) *cobra.Command {
	return a.remoteCommand(cmd, func(args []string) (call, error) {
		req := &sharelockv1.ChangeKeyringRequest{Action: sharelockv1.KeyringAction(action), WithoutAbsent: without != nil && *without}
		switch {
		case action == sharelock.InstallKey:
			k, err := a.keyArgument(args[0])
			if err != nil {
				return nil, err
			}
			req.GossipKey = k.Text()
		case len(args) > 0:
			f, err := keyring.ParseFingerprint(args[0])
			if err != nil {
				return nil, exit.Usagef("KEY: %w", err)
			}
			req.GossipKey = f.String()
		}
		return func(ctx context.Context, r *remote, _ *client.Client) error {
			var resp sharelockv1.ChangeKeyringResponse
			if err := r.invoke(ctx, sharelockv1.MeshService_ChangeKeyring_FullMethodName, req, &resp); err != nil {
				return err
			}
			return r.print(&resp, func() error {
				return show.Keyring(r.app.stdout, sharelockv1.KeyringFromProto(resp.GetKeyring()), false)
			})
		}, nil
	})
}

// keyArgument reads a key from an argument or, if that is -, from the standard input.
func (a *app) keyArgument(arg string) (keyring.Key, error) {
	if arg == "-" {
		line, _ := bufio.NewReader(io.LimitReader(a.stdin, 1<<10)).ReadString('\n')
		if arg = strings.TrimSpace(line); arg == "" {
			return keyring.Key{}, exit.Usagef("KEY: no key on the standard input")
		}
	}
	k, err := keyring.ParseKey(arg)
	if err != nil {
		return keyring.Key{}, exit.Usagef("KEY: %w", err)
	}
	return k, nil
}
