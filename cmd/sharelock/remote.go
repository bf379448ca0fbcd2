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
)

const (
	serverVariable = "SHARELOCK_SERVER"
	defaultServer  = "127.0.0.1:50052"
	// defaultPatience covers the failover of a node.
	defaultPatience = 5 * time.Second
)

// remote is what all client commands are told.
type remote struct {
	app     *app
	servers string
	// only keeps every call to the servers; otherwise the client learns of the other nodes.
	only     bool
	clientID string
	output   string
	timeout  time.Duration
}

// call is what a client command does at the mesh.
type call func(ctx context.Context, r *remote, c *client.Client) error

// remoteCommand completes a client command: with its flags, and with a client for
// the call that prepare makes of the arguments. What is wrong with those is said
// before anybody is called.
func (a *app) remoteCommand(cmd *cobra.Command, prepare func(args []string) (call, error)) *cobra.Command {
	r := &remote{app: a}
	r.addFlags(cmd)
	cmd.Flags().BoolVar(&r.only, "only-server", false, onlyServerUsage)
	return a.completeRemote(cmd, r, prepare)
}

// nodeCommand is remoteCommand for what is about the node that --server names.
func (a *app) nodeCommand(cmd *cobra.Command, prepare func(args []string) (call, error)) *cobra.Command {
	r := &remote{app: a, only: true}
	r.addFlags(cmd)
	return a.completeRemote(cmd, r, prepare)
}

const onlyServerUsage = "keep to the nodes of --server: do not turn to others of the mesh"

func (a *app) completeRemote(cmd *cobra.Command, r *remote, prepare func(args []string) (call, error)) *cobra.Command {
	cmd.Flags().StringVarP(&r.output, "output", "o", "text", "text or json (the message of the API)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if r.output != "text" && r.output != "json" {
			return usageError("--output: want text or json, got %q", r.output)
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
		// Close waits for what an interrupted acquire has left to settle.
		if closing := c.Close(); err == nil {
			err = closing
		}
		return callError(err)
	}
	return cmd
}

// withKey is prepare for commands whose first argument is a key.
func withKey(do func(key string, rest []string) (call, error)) func(args []string) (call, error) {
	return func(args []string) (call, error) {
		if err := sharelock.CheckKey(args[0]); err != nil {
			return nil, usageError("%w", err)
		}
		return do(args[0], args[1:])
	}
}

func (r *remote) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&r.servers, "server", variable(r.app.environ, serverVariable, defaultServer),
		"gRPC addresses of nodes to begin with, host:port[,host:port...] (env "+serverVariable+")")
	fs.StringVar(&r.clientID, "client-id", "", "who you are, for others to see (default: user@host:pid)")
	fs.DurationVar(&r.timeout, "timeout", defaultPatience, "how long to look for a node that answers")
}

// dial reaches the mesh.
func (r *remote) dial(ctx context.Context) (*client.Client, error) {
	addrs, opts, err := r.options()
	if err != nil {
		return nil, err
	}
	c, err := client.Dial(ctx, addrs, opts)
	return c, callError(err)
}

// options makes the addresses and options of a client.
func (r *remote) options() (addrs []string, opts client.Options, err error) {
	for addr := range strings.SplitSeq(r.servers, ",") {
		addr = strings.TrimSpace(addr)
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			return nil, opts, usageError("--server: %q is not host:port", addr)
		}
		addrs = append(addrs, addr)
	}
	if r.clientID == "" {
		r.clientID = client.DefaultClientID()
	}
	if err := sharelock.CheckClientID(r.clientID); err != nil {
		return nil, opts, usageError("--client-id: %w", err)
	}
	if r.timeout <= 0 {
		return nil, opts, usageError("--timeout: %v is not positive", r.timeout)
	}
	return addrs, client.Options{ClientID: r.clientID, Patience: r.timeout, OnlyAddrs: r.only}, nil
}

// variable is the value of an environment variable, or otherwise if it is unset
// or empty.
func variable(environ []string, name, otherwise string) string {
	value := otherwise
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok && v != "" {
			value = v
		}
	}
	return value
}

// interruptible ends a context at the first signal that asks the process to end.
func (a *app) interruptible(ctx context.Context) (context.Context, func()) {
	signals, stop := a.notify(os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case sig := <-signals:
			cancel(interrupted{syscall.Signal(number(sig))})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		stop()
		cancel(nil)
		<-done
	}
}

// print shows an answer: as the API's message, or in a form for people.
func (r *remote) print(message proto.Message, people func() error) error {
	if r.output == "text" {
		return people()
	}
	// protojson varies its white space on purpose; json.Indent makes it one.
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
		return 0, usageError("%q is not a token: want the number that acquire printed", s)
	}
	return sharelock.Token(n), nil
}
