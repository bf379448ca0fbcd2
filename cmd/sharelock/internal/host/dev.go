package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/config"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/tracing"
	"github.com/sgkandale/sharelock/internal/intconv"
)

const (
	// DevPort is the first node's HTTP port.
	DevPort = 50051
	// DevStep is added to a node's ports for each further node.
	DevStep = 10
	// MostDevNodes is the maximum number of nodes: they are named by letters.
	MostDevNodes = 26
	// devReady is how long the nodes may take to find each other.
	devReady = 30 * time.Second
)

// DevMesh is a mesh in one process.
type DevMesh struct {
	// Nodes is the number of nodes, and Port the HTTP port of the first.
	Nodes, Port int
	// TLS makes certificates for the nodes and a client. Their files are in Dir or, if that is
	// empty, in a temporary folder.
	TLS bool
	Dir string
}

// Dev runs a whole mesh until it ends or a signal ends it.
func (h *Host) Dev(ctx context.Context, c config.Config, m DevMesh) error {
	c.Mesh.Logger = newLogger(h.Stderr, c.LogLevel, c.LogFormat)
	if !m.TLS {
		return h.dev(ctx, c, m, nil)
	}
	d, err := newDevTLS(m.Dir)
	if err != nil {
		return exit.Failure(err)
	}
	return errors.Join(h.dev(ctx, c, m, d), d.close())
}

func (h *Host) dev(ctx context.Context, c config.Config, m DevMesh, d *devTLS) error {
	signals, stop := h.Notify(os.Interrupt, syscall.SIGTERM)
	defer stop()
	h.ignoreSIGPIPE()
	defer LimitGarbage(h.Environ)()
	traces, err := tracing.New(h.Environ, h.Version, c.Mesh.Logger)
	if err != nil {
		return exit.Failure(err)
	}
	defer traces.Close()
	nodes, err := h.startDev(c, m, d, traces)
	if err != nil {
		killAll(nodes)
		return exit.Failure(err)
	}
	if err := awaitReady(ctx, nodes, signals); err != nil {
		killAll(nodes)
		return err
	}
	h.printDev(nodes, d)
	return h.attend(ctx, nodes, signals)
}

// awaitReady waits until the nodes have found each other, or for a signal.
func awaitReady(ctx context.Context, nodes []Node, signals <-chan os.Signal) error {
	ready, cancel := context.WithTimeout(ctx, devReady)
	defer cancel()
	early := make(chan error, 1)
	go func() { early <- waitReady(ready, nodes) }()
	select {
	case err := <-early:
		if err != nil {
			return exit.Failure(fmt.Errorf("the nodes did not find each other: %w", err))
		}
		return nil
	case sig := <-signals:
		cancel()
		<-early //nolint:errcheck // it was cancelled
		return &exit.Error{Code: exit.Signal + exit.Number(sig)}
	}
}

// attend waits until all nodes have left, or one has failed, or for a signal.
func (h *Host) attend(ctx context.Context, nodes []Node, signals <-chan os.Signal) error {
	ended, quit := nodeEnds(nodes)
	defer quit()
	// The nodes are in memory and end together. No node is left to hand over to, so they do
	// not leave in good order.
	defer killAll(nodes)
	for range nodes {
		select {
		case i := <-ended:
			if err := nodes[i].Err(); err != nil {
				return exit.Failure(fmt.Errorf("node %s: %w", devName(i), err))
			}
			nodes[i].Kill() // the node has left the mesh; this frees its resources
			fmt.Fprintf(h.Stderr, "sharelock: node %s has left\n", devName(i))
		case <-signals:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// startDev starts the nodes. On an error it also returns the nodes that it has started.
func (h *Host) startDev(c config.Config, m DevMesh, d *devTLS, traces *tracing.Tracing) ([]Node, error) {
	at := func(i, offset int) string {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(m.Port+i*DevStep+offset))
	}
	var seeds []string
	for i := range m.Nodes {
		seeds = append(seeds, at(i, 3))
	}
	// Otherwise a connection of the first nodes might get a port of the last by chance.
	held := make([]ports, m.Nodes)
	if h.Alone {
		for i := range held {
			held[i].hold(at(i, 0), at(i, 1), at(i, 2), at(i, 3))
		}
	}
	defer func() {
		for i := range held {
			held[i].free()
		}
	}()
	var nodes []Node
	for i := range m.Nodes {
		held[i].free()
		cfg := c.Mesh
		cfg.Name, cfg.DataDir, cfg.Seeds = devName(i), "", seeds
		cfg.HTTPListen, cfg.GRPCListen, cfg.PeerListen, cfg.GossipListen = at(i, 0), at(i, 1), at(i, 2), at(i, 3)
		if m.Nodes == 1 {
			cfg.Seeds, cfg.Found = nil, true
		}
		var err error
		if cfg.TLS, err = d.node(cfg.Name, cfg.Cluster); err != nil {
			return nodes, fmt.Errorf("node %s: %w", cfg.Name, err)
		}
		if cfg.TracerProvider, err = traces.Provider(cfg.Name); err != nil {
			return nodes, err
		}
		n, err := h.NewNode(cfg)
		if err != nil {
			return nodes, fmt.Errorf("node %s: %w", cfg.Name, err)
		}
		nodes = append(nodes, n)
		if err := n.Start(); err != nil {
			return nodes, fmt.Errorf("node %s: %w", cfg.Name, err)
		}
	}
	return nodes, nil
}

func devName(i int) string { return string([]byte{'a' + intconv.Uint8(i)}) }

// waitReady waits for all nodes except those that have left.
func waitReady(ctx context.Context, nodes []Node) error {
	for i, n := range nodes {
		if err := n.WaitReady(ctx); err != nil && !hasLeft(n) {
			return fmt.Errorf("node %s: %w", devName(i), err)
		}
	}
	return nil
}

// hasLeft reports whether a node has left the mesh in good order.
func hasLeft(n Node) bool {
	select {
	case <-n.Done():
		return n.Err() == nil
	default:
		return false
	}
}

// nodeEnds returns a channel of the indexes of nodes that end by themselves. quit stops
// waiting for them.
func nodeEnds(nodes []Node) (ended <-chan int, quit func()) {
	c, stop := make(chan int, len(nodes)), make(chan struct{})
	var waiting sync.WaitGroup
	for i, n := range nodes {
		waiting.Go(func() {
			select {
			case <-n.Done():
				c <- i
			case <-stop:
			}
		})
	}
	return c, func() {
		close(stop)
		waiting.Wait()
	}
}

func killAll(nodes []Node) {
	for _, n := range nodes {
		n.Kill()
	}
}
