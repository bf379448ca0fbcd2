package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/config"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/internal/flight"
	"github.com/sgkandale/sharelock/mesh"
)

// node is the part of mesh.Node that serve and dev use.
type node interface {
	Start() error
	WaitReady(ctx context.Context) error
	Stop(ctx context.Context) error
	Kill()
	Done() <-chan struct{}
	Err() error
	Addrs() mesh.Addrs
	Worked() uint64
	Reload() error
}

var _ node = (*mesh.Node)(nil)

const (
	// killTime is how long the process waits for Kill after a second signal.
	killTime = time.Second
	// sameSignal is how long after the first signal another one counts as the same: GNU timeout
	// sends a signal to the process and then to its group, and Ctrl-C comes from the terminal
	// and once more from a parent that forwards it.
	sameSignal = 500 * time.Millisecond
)

func (a *app) serveCommand() *cobra.Command {
	var (
		path            string
		found, recovers bool
	)
	cmd := &cobra.Command{
		Use:     "serve",
		GroupID: groupNode,
		Short:   "Run a node",
		Long: `Run a node of the mesh.

Flags override the environment, the environment overrides the file, and the file
overrides the defaults. The environment variable of a key is SHARELOCK_ and the key
in capitals, with __ for the dot: SHARELOCK_HTTP__LISTEN. An unknown key is an error.

Without GOGC and GOMEMLIMIT in the environment, a node collects its garbage when
it exceeds 32 MiB and half of the live memory.

SIGHUP makes the node read its certificate, key and bundle of authorities again. It
also looks for changes by itself, every few seconds.

The first interrupt makes the node leave in good order: it hands over its partitions
and finishes open calls, for at most shutdown_timeout. A second interrupt, more than
half a second later, ends the node at once.`,
		Example: `  # the first three nodes found the mesh together, each with the same seeds
  sharelock serve --config config.yaml --node-name a --seeds 10.0.0.1:7946,10.0.0.2:7946,10.0.0.3:7946

  # a mesh of one node that others may join
  sharelock serve --found`,
		Args: cobra.NoArgs,
	}
	fs := cmd.Flags()
	fs.StringVarP(&path, "config", "c", "", "YAML file of settings")
	fs.BoolVar(&found, "found", false, "found a mesh that others may join, after every seed has answered that it is empty; without seeds, found it at once")
	fs.BoolVar(&recovers, "recover", false, "make a new mesh from this data directory alone, after a majority of the directories was lost for good; use it for one start only, see docs/recovery.md")
	byFlag := make(map[string]string)
	for _, f := range config.Flags() {
		fs.String(f.Name, "", f.Help)
		if f.Name == "insecure" { // alone it means true
			fs.Lookup(f.Name).NoOptDefVal = "true"
		}
		byFlag[f.Name] = f.Key
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var flags []config.Setting
		fs.Visit(func(f *pflag.Flag) {
			if name, ok := byFlag[f.Name]; ok {
				flags = append(flags, config.Setting{Key: name, Value: f.Value.String(), Source: "--" + f.Name})
			}
		})
		c, from, err := config.Load(path, a.environ, flags)
		if err != nil {
			return exit.Failure(err)
		}
		defer limitGarbage(a.environ)()
		c.Mesh.Found, c.Mesh.Recover = found, recovers
		a.observe(&c, from)
		return a.serve(cmd.Context(), c)
	}
	return cmd
}

// newLogger returns the logger of a node.
func newLogger(w io.Writer, level slog.Leveler, format string) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

func (a *app) serve(ctx context.Context, c config.Config) error {
	// This comes first: a signal that arrives while the node starts must not leave its port
	// bound.
	signals, stop := a.notify(serveSignals...)
	defer stop()
	a.ignoreSIGPIPE()
	var latency io.WriteCloser
	if c.KeepAwake {
		var err error
		if latency, err = a.openLatency(); err != nil {
			return exit.Failure(fmt.Errorf("node.keep_awake: %w", err))
		}
		defer latency.Close() //nolint:errcheck // nothing depends on it
	}
	record, err := a.openAudit(&c)
	if err != nil {
		return exit.Failure(err)
	}
	defer record.Close() //nolint:errcheck // a disk that hangs has been reported
	if c.FlightRecorder && c.Mesh.DataDir != "" {
		recorder, err := flight.Start(c.Mesh.DataDir, c.Mesh.Logger)
		if err != nil {
			return exit.Failure(fmt.Errorf("debug.flight_recorder: %w", err))
		}
		defer recorder.Stop()
		c.Mesh.Trouble = recorder.Want
	}
	traces, err := newTracing(a.environ, c.Mesh.Logger)
	if err != nil {
		return exit.Failure(err)
	}
	defer traces.close()
	if c.Mesh.TracerProvider, err = traces.provider(c.Mesh.Name); err != nil {
		return exit.Failure(err)
	}
	n, err := a.newNode(c.Mesh)
	if err != nil {
		return exit.Failure(err)
	}
	if err := n.Start(); err != nil {
		n.Kill()
		return exit.Failure(err)
	}
	at := n.Addrs()
	c.Mesh.Logger.Info("node started", "node", c.Mesh.Name, "http", at.HTTP, "grpc", at.GRPC, "peer", at.Peer, "gossip", at.Gossip)
	if c.LogFormat == "text" && c.LogLevel <= slog.LevelInfo {
		fmt.Fprint(a.stderr, startBlock(c, at))
	}
	if latency != nil {
		defer keepAwake(latency, n.Worked, c.Mesh.Logger)()
	}
	return a.supervise(ctx, c, n, signals)
}

// openAudit opens the audit log, nil if it is off.
func (a *app) openAudit(c *config.Config) (*audit.Log, error) {
	c.Audit.Node, c.Audit.Stderr, c.Audit.Log = c.Mesh.Name, a.stderr, c.Mesh.Logger
	var err error
	c.Mesh.Audit, err = audit.Open(c.Audit)
	return c.Mesh.Audit, err
}

// ignoreSIGPIPE makes the process ignore SIGPIPE, so that a node keeps running when the reader of
// its output has gone.
func (a *app) ignoreSIGPIPE() {
	if a.alone {
		signal.Ignore(syscall.SIGPIPE)
	}
}

// supervise waits until the node ends by itself, or ends it after a signal. SIGHUP makes it reload
// its files.
func (a *app) supervise(ctx context.Context, c config.Config, n node, signals <-chan os.Signal) error {
	var first time.Time
	for waiting := true; waiting; {
		select {
		case <-n.Done():
			n.Kill()
			if err := n.Err(); err != nil {
				return exit.Failure(err)
			}
			return nil // the node was asked to leave
		case sig := <-signals:
			switch sig {
			case syscall.SIGHUP:
				reload(c, n)
				continue
			case levelSignal:
				toggleDebug(c)
				continue
			}
			first = time.Now()
			c.Mesh.Logger.Info("leaving", "signal", sig.String(), "timeout", c.Mesh.ShutdownTimeout)
		case <-ctx.Done():
		}
		waiting = false
	}

	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Mesh.ShutdownTimeout)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- n.Stop(bounded) }()
	for {
		select {
		case err := <-stopped:
			if err != nil {
				return exit.Failure(fmt.Errorf("stop: %w", err))
			}
			return nil
		case sig := <-signals:
			if sig != syscall.SIGHUP && sig != levelSignal && time.Since(first) > sameSignal {
				return endAtOnce(n, sig)
			}
		}
	}
}

// reload makes the node read again what it reads from files while it runs.
func reload(c config.Config, n node) {
	c.Mesh.Audit.Reopen()
	if err := n.Reload(); err != nil {
		c.Mesh.Logger.Error("reload: some of what was set before remains", "error", err)
		return
	}
	c.Mesh.Logger.Info("reloaded")
}

// endAtOnce kills the node after a second signal.
func endAtOnce(n node, sig os.Signal) error {
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		n.Kill()
	}()
	select {
	case <-killed:
	case <-time.After(killTime):
	}
	return &exit.Error{Code: exit.Signal + exit.Number(sig), Err: fmt.Errorf("ended at once by a second signal: %v", sig)}
}
