package main

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/internal/certs"
)

// tlsCommand makes certificates.
func (a *app) tlsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "tls",
		GroupID: groupNode,
		Short:   "Make certificates for nodes and clients",
		Long: `Make an authority of your own, and certificates for nodes and clients that it signs.
Files that exist are never overwritten.`,
		Example: `  sharelock tls ca create
  sharelock tls cert create --member a --host a.example.com
  sharelock tls cert create --client ci`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		group("ca", "The authority that signs certificates", a.caCreateCommand()),
		group("cert", "Certificates of nodes and clients", a.certCreateCommand()),
	)
	return cmd
}

// group returns a command that only has subcommands.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

const dirUsage = "the folder of the authority and the certificates"

func (a *app) caCreateCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make an authority: ca.pem and ca-key.pem",
		Long: `Make an authority, valid for five years: its certificate ca.pem, which nodes and
clients need, and its key ca-key.pem, which only "sharelock tls cert create" needs.
Whoever has the key can make members: keep it off the nodes.`,
		Example: `  sharelock tls ca create --dir certs`,
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.caCreate(dir) },
	}
	cmd.Flags().StringVar(&dir, "dir", ".", dirUsage)
	return cmd
}

func (a *app) caCreate(dir string) error {
	ca, err := certs.NewCA()
	if err != nil {
		return exit.Failure(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // certificates are public, and keys have mode 0600
		return exit.Failure(err)
	}
	if err := ca.WriteCA(dir); err != nil {
		return exit.Failure(err)
	}
	with := ""
	if dir != "." {
		with = " --dir " + dir
	}
	a.printf(`%s and %s: an authority, valid until %s.
Keep the key secret, off the nodes: whoever has it can make members.

Next, make a certificate for each node and each client:

  %[4]s tls cert create --member NAME --host HOST%[5]s
  %[4]s tls cert create --client NAME%[5]s
`, certs.CertFile(dir, "ca"), certs.KeyFile(dir, "ca"), day(ca.Expires()), a.name(), with)
	return nil
}

// certFlags are the flags of "tls cert create".
type certFlags struct {
	dir, member, client, cluster string
	hosts                        []string
}

func (a *app) certCreateCommand() *cobra.Command {
	var f certFlags
	cmd := &cobra.Command{
		Use:   "create {--member NAME | --client NAME}",
		Short: "Make the certificate of a node or a client: NAME.pem and NAME-key.pem",
		Long: `Make a certificate, valid for a year, signed by the authority in the same folder.

The certificate of a member is for a node, which uses it towards other nodes and
towards clients. It is valid for the host names localhost, 127.0.0.1 and ::1, and for
every --host; clients check the host that they connect to.

The certificate of a client names who it is. It cannot act as a member.`,
		Example: `  sharelock tls cert create --member a --host a.example.com --host 10.0.0.1
  sharelock tls cert create --client ci`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.certCreate(f, cmd.Flags().Changed("cluster")) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.member, "member", "", "the name of a node")
	fs.StringVar(&f.client, "client", "", "the name of a client")
	fs.StringVar(&f.dir, "dir", ".", dirUsage)
	fs.StringVar(&f.cluster, "cluster", "sharelock", "with --member: the node's mesh.cluster")
	fs.StringArrayVar(&f.hosts, "host", nil, "with --member: a DNS name or IP address of the node; may be repeated")
	return cmd
}

func (a *app) certCreate(f certFlags, clusterSet bool) error {
	switch {
	case f.member == "" && f.client == "":
		return exit.Usagef("name a node with --member, or a client with --client")
	case f.member != "" && f.client != "":
		return exit.Usagef("--member and --client: want one of them")
	case f.client != "" && (clusterSet || len(f.hosts) > 0):
		return exit.Usagef("--cluster and --host are of members")
	}
	ca, err := certs.ReadCA(f.dir)
	if err != nil {
		return exit.Failure(fmt.Errorf("read the authority: %w (make one with %s tls ca create)", err, a.name()))
	}
	name := f.member + f.client
	var pair certs.Pair
	if f.member != "" {
		pair, err = ca.Member(f.member, f.cluster, f.hosts)
	} else {
		pair, err = ca.Client(f.client)
	}
	if err != nil {
		return exit.Usagef("%w", err)
	}
	c, err := pair.TLS()
	if err != nil {
		return exit.Failure(err)
	}
	if err := pair.Write(f.dir, name); err != nil {
		return exit.Failure(err)
	}
	cert, key := certs.CertFile(f.dir, name), certs.KeyFile(f.dir, name)
	a.printf("%s and %s: ", cert, key)
	if f.member != "" {
		a.printf(`node %q of cluster %q, valid until %s.

Next, copy both and %s to the node, and name them in its configuration:

  tls:
    ca_file: %[4]s
    cert_file: %[5]s
    key_file: %[6]s
`, f.member, f.cluster, day(c.Leaf.NotAfter), certs.CertFile(f.dir, "ca"), cert, key)
		return nil
	}
	a.printf(`client %q, valid until %s.

Next, use them:

  %s members --tls-ca %s --tls-cert %s --tls-key %s
`, f.client, day(c.Leaf.NotAfter), a.name(), certs.CertFile(f.dir, "ca"), cert, key)
	return nil
}

// day returns a time as text, for people.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// name returns how the user calls this program.
func (a *app) name() string { return cmp.Or(a.self, "sharelock") }

// printf prints to stdout. It ignores errors, because what it reports has been done already.
func (a *app) printf(format string, args ...any) { _, _ = fmt.Fprintf(a.stdout, format, args...) }
