package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/clientid"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

const (
	serverVariable = "SHARELOCK_SERVER"
	defaultServer  = "127.0.0.1:50052"
	// defaultPatience covers the failover of a node.
	defaultPatience = 5 * time.Second
)

// remote holds the flags that all client commands have.
type remote struct {
	app     *app
	servers string
	// only restricts calls to the servers; otherwise the client also uses other nodes of the
	// mesh.
	only     bool
	clientID string
	output   string
	timeout  time.Duration
	// control is the control of the client, once it was dialed.
	control clienthook.Control
	// mesh is the mesh service of the first node, once there is a client.
	mesh   sharelockv1.MeshServiceClient
	access access
	// context is the name of a context; empty means the one in use, if any.
	context string
	// given reports whether a flag was given.
	given func(flag string) bool
	// passAuth means that CMD of lock and flock gets the variables of the caller's credential.
	passAuth bool
}

// call is the work of a client command.
type call func(ctx context.Context, r *remote, c *client.Client) error

// remoteCommand completes a client command: it adds the flags, and runs the call that prepare
// makes of the arguments with a client. Errors in the arguments are reported before any call is
// made.
func (a *app) remoteCommand(cmd *cobra.Command, prepare func(args []string) (call, error)) *cobra.Command {
	r := &remote{app: a}
	r.addFlags(cmd)
	cmd.Flags().BoolVar(&r.only, "only-server", false, onlyServerUsage)
	return a.completeRemote(cmd, r, prepare)
}

// nodeCommand is like remoteCommand, for commands about the node that --server names.
func (a *app) nodeCommand(cmd *cobra.Command, prepare func(args []string) (call, error)) *cobra.Command {
	r := &remote{app: a, only: true}
	r.addFlags(cmd)
	return a.completeRemote(cmd, r, prepare)
}

const passAuthUsage = "leave the variables of the credential, such as SHARELOCK_AUTH_TOKEN, in CMD's environment"

const onlyServerUsage = "use only the nodes of --server, not other nodes of the mesh"

func (a *app) completeRemote(cmd *cobra.Command, r *remote, prepare func(args []string) (call, error)) *cobra.Command {
	cmd.Flags().StringVarP(&r.output, "output", "o", "text", "text or json (the message of the API)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if r.output != "text" && r.output != "json" {
			return exit.Usagef("--output: want text or json, got %q", r.output)
		}
		do, err := prepare(args)
		if err != nil {
			return err
		}
		ctx, stop := a.interruptible(cmd.Context())
		defer stop()
		c, err := r.dial(ctx)
		if err != nil {
			return err
		}
		err = do(ctx, r, c)
		// Close waits until an interrupted acquire has been given up.
		if closing := c.Close(); err == nil {
			err = closing
		}
		return exit.OfCall(err)
	}
	return cmd
}

// withKey returns a prepare function for commands whose first argument is a key.
func withKey(do func(key string, rest []string) (call, error)) func(args []string) (call, error) {
	return func(args []string) (call, error) {
		if err := sharelock.CheckKey(args[0]); err != nil {
			return nil, exit.Usagef("%w", err)
		}
		return do(args[0], args[1:])
	}
}

func (r *remote) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&r.servers, "server", variable(r.app.environ, serverVariable, defaultServer),
		"gRPC addresses of the first nodes to try, host:port[,host:port...] (env "+serverVariable+")")
	fs.StringVar(&r.context, "context", "", "the context to use, see sharelock context (env "+contextVariable+")")
	fs.StringVar(&r.clientID, "client-id", "", "the client id that others see (default: user@host:pid)")
	fs.DurationVar(&r.timeout, "timeout", defaultPatience, "how long to look for a node that answers")
	r.access.addFlags(fs)
	r.given = fs.Changed
}

// dial connects to the mesh.
func (r *remote) dial(ctx context.Context) (*client.Client, error) {
	addrs, opts, err := r.options()
	if err != nil {
		return nil, err
	}
	ctx = clienthook.With(ctx, clienthook.Hooks{
		Control: func(c clienthook.Control) { r.control = c },
		Mesh:    func(m sharelockv1.MeshServiceClient) { r.mesh = m },
	})
	c, err := client.Dial(ctx, addrs, opts)
	return c, exit.OfCall(err)
}

// invoke makes a call for which the client has no method. It is called after dial.
func (r *remote) invoke(ctx context.Context, method string, req, resp proto.Message) error {
	return r.control.Invoke(ctx, method, req, resp)
}

// options returns the addresses and options of a client.
func (r *remote) options() (addrs []string, opts client.Options, err error) {
	if err := r.complete(); err != nil {
		return nil, opts, err
	}
	for addr := range strings.SplitSeq(r.servers, ",") {
		addr = strings.TrimSpace(addr)
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			return nil, opts, exit.Usagef("--server: %q is not host:port", addr)
		}
		addrs = append(addrs, addr)
	}
	if r.clientID == "" {
		r.clientID = clientid.Default()
	}
	if err := sharelock.CheckClientID(r.clientID); err != nil {
		return nil, opts, exit.Usagef("--client-id: %w", err)
	}
	if r.timeout <= 0 {
		return nil, opts, exit.Usagef("--timeout: %v is not positive", r.timeout)
	}
	opts = client.Options{ClientID: r.clientID, Patience: r.timeout, OnlyAddrs: r.only}
	return addrs, opts, r.access.options(&opts)
}

// complete takes settings that the flags leave open from the environment and from the context.
func (r *remote) complete() error {
	from, err := r.app.chosenContext(r.context)
	if err != nil {
		return err
	}
	if err := r.access.complete(r.app.environ, from); err != nil {
		return err
	}
	if from != nil && len(from.servers) > 0 && !r.given("server") && variable(r.app.environ, serverVariable, "") == "" {
		r.servers = strings.Join(from.servers, ",")
	}
	return nil
}

// variable returns the value of an environment variable, or otherwise if it is unset or empty.
func variable(environ []string, name, otherwise string) string {
	value := otherwise
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok && v != "" {
			value = v
		}
	}
	return value
}

// interruptible returns a context that is canceled by the first signal that asks the process to
// end. The second one ends the process.
func (a *app) interruptible(ctx context.Context) (context.Context, func()) {
	signals, stop := a.notify(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case sig := <-signals:
			stop()
			cancel(exit.Interrupted{Sig: syscall.Signal(exit.Number(sig))})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		stop()
		cancel(nil)
		<-done
	}
}

// print prints an answer: as JSON of the API's message, or as text by calling people.
func (r *remote) print(message proto.Message, people func() error) error {
	if r.output == "text" {
		return people()
	}
	// protojson varies its white space on purpose; the JSON encoder normalizes it.
	compact, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(message)
	if err != nil {
		return err
	}
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(json.RawMessage(compact)); err != nil {
		return err
	}
	_, err = fmt.Fprint(r.app.stdout, out.String())
	return err
}

// parseToken reads a fencing token.
func parseToken(s string) (sharelock.Token, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return 0, exit.Usagef("%q is not a token: want the number that acquire printed", s)
	}
	return sharelock.Token(n), nil
}
