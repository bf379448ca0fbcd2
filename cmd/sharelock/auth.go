package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/show"
	"github.com/sgkandale/sharelock/internal/auth"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// authCommand is about who may do what.
func (a *app) authCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "auth",
		GroupID: groupMesh,
		Short:   "Make tokens, and find out who may do what",
		Long: `Make tokens for the auth file (auth.file in config.yaml), find out what the file
allows, and who you are to a node. See docs/security.md.`,
		Example: `  sharelock auth token create --principal ci
  sharelock auth check --file auth.yaml --as ci acquire ci/build
  sharelock auth whoami`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(group("token", "Tokens of principals", a.tokenCreateCommand()), a.authCheckCommand(), a.whoAmICommand())
	return cmd
}

func (a *app) tokenCreateCommand() *cobra.Command {
	var principal string
	cmd := &cobra.Command{
		Use:   "create --principal NAME",
		Short: "Make a token for a principal",
		Long: `Make a token, and print it with the line for the auth file, which has only its hash.
The token is printed this once and stored nowhere. With --quiet only the token is on
standard output, and the line on standard error.

A principal may have several tokens. To replace one without a pause: add the line of the
new one, give the new one to the clients, and then take out the line of the old one.`,
		Example: `  sharelock auth token create --principal ci
  sharelock auth token create --principal ci --quiet > ci.token`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&principal, "principal", "", "the name of the principal in the auth file")
	quiet := cmd.Flags().BoolP("quiet", "q", false, "print only the token on standard output")
	cmd.RunE = func(*cobra.Command, []string) error {
		if err := auth.CheckName(principal); err != nil {
			return exit.Usagef("--principal: name the principal that the token is for: %w", err)
		}
		token, stored := auth.NewToken()
		line := fmt.Sprintf("  - {name: %s, policies: [], tokens: [%q]}", principal, stored)
		if *quiet {
			a.printf("%s\n", token)
			fmt.Fprintln(a.stderr, line)
			return nil
		}
		a.printf(`The token, which is shown only now:

%s

For the auth file, under principals (or add the hash to the tokens of an entry there):

%s

A client sends it with --auth-token-file FILE, or SHARELOCK_AUTH_TOKEN; over HTTP as
"Authorization: Bearer TOKEN".
`, token, line)
		return nil
	}
	return cmd
}

func (a *app) authCheckCommand() *cobra.Command {
	var file, as string
	cmd := &cobra.Command{
		Use:   "check --file FILE [--as PRINCIPAL VERB [KEY]]",
		Short: "Check an auth file, and what it allows",
		Long: `Check that a node would take an auth file. With --as also find out whether the file
allows a principal a verb (acquire, read, force or admin) on a key. PRINCIPAL is a name in
the file, "anonymous", or NAME/SUBJECT for a JWT. The exit code is 0 if it is allowed, 1 if
it is not or if the file is bad. No node is asked.`,
		Example: `  sharelock auth check --file auth.yaml
  sharelock auth check --file auth.yaml --as ci acquire ci/build
  sharelock auth check --file auth.yaml --as ops admin`,
		Args: cobra.MaximumNArgs(2),
	}
	cmd.Flags().StringVar(&file, "file", "", "the auth file")
	cmd.Flags().StringVar(&as, "as", "", "the principal")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return a.authCheck(file, as, args) }
	return cmd
}

func (a *app) authCheck(file, as string, args []string) error {
	if file == "" {
		return exit.Usagef("--file: name the auth file")
	}
	if (as != "") != (len(args) > 0) {
		return exit.Usagef("give both --as and a verb, or neither")
	}
	authority, err := auth.Open(auth.Config{File: file, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return exit.Failure(err)
	}
	if as == "" {
		a.printf("%s is good, hash %s\n", file, authority.Hash())
		return nil
	}
	verb, ok := auth.ParseVerb(args[0])
	if !ok {
		return exit.Usagef("%q is no verb: want acquire, read, force or admin", args[0])
	}
	who, err := authority.As(as)
	if err != nil {
		return exit.Failure(err)
	}
	var rule string
	switch {
	case verb == auth.Admin && len(args) == 1:
		rule, err = who.CheckAny(verb)
	case len(args) == 1:
		return exit.Usagef("name the key")
	default:
		rule, err = who.Check(verb, args[1])
	}
	if err != nil {
		return exit.Failure(err)
	}
	a.printf("allowed by policy %s\n", rule)
	return nil
}

func (a *app) whoAmICommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "whoami",
		Short:   "Show who you are to a node, and what you may do",
		Example: `  sharelock auth whoami --auth-token-file ci.token`,
		Args:    cobra.NoArgs,
	}
	return a.nodeCommand(cmd, func([]string) (call, error) {
		return func(ctx context.Context, r *remote, _ *client.Client) error {
			var resp sharelockv1.WhoAmIResponse
			if err := r.invoke(ctx, sharelockv1.MeshService_WhoAmI_FullMethodName, &sharelockv1.WhoAmIRequest{}, &resp); err != nil {
				return err
			}
			return r.print(&resp, func() error { return show.WhoAmI(r.app.stdout, &resp) })
		}, nil
	})
}
