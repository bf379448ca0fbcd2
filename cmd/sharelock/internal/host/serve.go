package host

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/config"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/tracing"
	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/internal/flight"
	"github.com/sgkandale/sharelock/mesh"
)

// Host is this process, with everything that its nodes use of it.
type Host struct {
	// Name is how the user calls this program. Version is its version, which traces contain.
	Name, Version  string
	Stdout, Stderr io.Writer
	Environ        []string
	// Alone is set if the process runs nodes and nothing else. Then it ignores SIGPIPE, and holds
	// the ports of nodes that start later.
	Alone bool
	// Notify delivers signals until stop is called.
	Notify func(sigs ...os.Signal) (c <-chan os.Signal, stop func())
	// NewNode makes a node.
	NewNode func(mesh.Config) (Node, error)
	// OpenLatency opens the device that keeps processors awake; see the function OpenLatency.
	OpenLatency func() (io.WriteCloser, error)
}

// Node is the part of mesh.Node that the host uses.
type Node interface {
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

var _ Node = (*mesh.Node)(nil)

const (
	// killTime is how long the process waits for Kill after a second signal.
	killTime = time.Second
	// sameSignal is how long after the first signal another one counts as the same: GNU timeout
	// sends a signal to the process and then to its group, and Ctrl-C comes from the terminal
	// and once more from a parent that forwards it.
	sameSignal = 500 * time.Millisecond
)

// Serve runs a node until it ends by itself or after a signal. from holds the sources of the settings.
func (h *Host) Serve(ctx context.Context, c config.Config, from config.Origin) error {
	defer LimitGarbage(h.Environ)()
	h.observe(&c, from)
	// This comes first: a signal that arrives while the node starts must not leave its port
	// bound.
	signals, stop := h.Notify(serveSignals...)
	defer stop()
	h.ignoreSIGPIPE()
	var latency io.WriteCloser
	if c.KeepAwake {
		var err error
		if latency, err = h.OpenLatency(); err != nil {
			return exit.Failure(fmt.Errorf("node.keep_awake: %w", err))
		}
		defer latency.Close() //nolint:errcheck // nothing depends on it
	}
	end, err := h.equip(&c)
	defer end()
	if err != nil {
		return exit.Failure(err)
	}
	n, err := h.NewNode(c.Mesh)
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
		fmt.Fprint(h.Stderr, startBlock(c, at))
	}
	if latency != nil {
		defer keepAwake(latency, n.Worked, c.Mesh.Logger)()
	}
	return h.supervise(ctx, c, n, signals)
}

// equip adds the audit log, the flight recorder and the tracer to the configuration of a node, as far as they
// are configured. The caller must call end when the node has ended, also after an error.
func (h *Host) equip(c *config.Config) (end func(), err error) {
	var ends []func()
	end = func() {
		for _, f := range slices.Backward(ends) {
			f()
		}
	}
	record, err := h.openAudit(c)
	if err != nil {
		return end, err
	}
	ends = append(ends, func() { _ = record.Close() }) // a disk that hangs has been reported
	if c.FlightRecorder && c.Mesh.DataDir != "" {
		recorder, err := flight.Start(c.Mesh.DataDir, c.Mesh.Logger)
		if err != nil {
			return end, fmt.Errorf("debug.flight_recorder: %w", err)
		}
		ends = append(ends, recorder.Stop)
		c.Mesh.Trouble = recorder.Want
	}
	traces, err := tracing.New(h.Environ, h.Version, c.Mesh.Logger)
	if err != nil {
		return end, err
	}
	ends = append(ends, traces.Close)
	c.Mesh.TracerProvider, err = traces.Provider(c.Mesh.Name)
	return end, err
}

// openAudit opens the audit log, nil if it is off.
func (h *Host) openAudit(c *config.Config) (*audit.Log, error) {
	c.Audit.Node, c.Audit.Stderr, c.Audit.Log = c.Mesh.Name, h.Stderr, c.Mesh.Logger
	var err error
	c.Mesh.Audit, err = audit.Open(c.Audit)
	return c.Mesh.Audit, err
}

// ignoreSIGPIPE makes the process ignore SIGPIPE, so that a node keeps running when the reader of
// its output has gone.
func (h *Host) ignoreSIGPIPE() {
	if h.Alone {
		signal.Ignore(syscall.SIGPIPE)
	}
}
