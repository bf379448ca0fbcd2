package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/config"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
	"github.com/sgkandale/sharelock/internal/intconv"
)

const (
	// devPort is the first node's HTTP port, and devStep is added for each further node.
	devPort = 50051
	devStep = 10
	// devNodes is the maximum number of nodes: they are named by letters.
	devNodes = 26
	// devReady is how long the nodes may take to find each other.
	devReady = 30 * time.Second
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
			if nodes < 1 || nodes > devNodes {
				return exit.Usagef("--nodes: want 1 to %d, got %d", devNodes, nodes)
			}
			if last := port + (nodes-1)*devStep + 3; port < 1 || last > 65535 {
				return exit.Usagef("--port: %d leaves no room for %d nodes", port, nodes)
			}
			c.Mesh.Logger = newLogger(a.stderr, c.LogLevel, c.LogFormat)
			if !secure && dir == "" {
				return a.dev(cmd.Context(), c, nodes, port, nil)
			}
			d, err := newDevTLS(dir)
			if err != nil {
				return exit.Failure(err)
			}
			return errors.Join(a.dev(cmd.Context(), c, nodes, port, d), d.close())
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", 3, "number of nodes")
	cmd.Flags().IntVar(&port, "port", devPort, "HTTP port of the first node")
	cmd.Flags().BoolVar(&secure, "tls", false, "use TLS, between the nodes and for clients")
	cmd.Flags().StringVar(&dir, "tls-dir", "", "with --tls: the folder for the files of the authority and of a client (default: a temporary one)")
	cmd.Flags().StringVar(&level, "log-level", "warn", "debug, info, warn or error")
	return cmd
}

func (a *app) dev(ctx context.Context, c config.Config, count, port int, d *devTLS) error {
	signals, stop := a.notify(os.Interrupt, syscall.SIGTERM)
	defer stop()
	a.ignoreSIGPIPE()
	defer limitGarbage(a.environ)()
	traces, err := newTracing(a.environ, c.Mesh.Logger)
	if err != nil {
		return exit.Failure(err)
	}
	defer traces.close()
	nodes, err := a.startDev(c, count, port, d, traces)
	if err != nil {
		killAll(nodes)
		return exit.Failure(err)
	}
	ready, cancel := context.WithTimeout(ctx, devReady)
	defer cancel()
	early := make(chan error, 1)
	go func() { early <- waitReady(ready, nodes) }()
	select {
	case err := <-early:
		if err != nil {
			killAll(nodes)
			return exit.Failure(fmt.Errorf("the nodes did not find each other: %w", err))
		}
	case sig := <-signals:
		cancel()
		<-early //nolint:errcheck // it was cancelled
		killAll(nodes)
		return &exit.Error{Code: exit.Signal + exit.Number(sig)}
	}
	a.printDev(nodes, d)
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
			fmt.Fprintf(a.stderr, "sharelock: node %s has left\n", devName(i))
		case <-signals:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// startDev starts the nodes. On an error it also returns the nodes that it has started.
func (a *app) startDev(c config.Config, count, port int, d *devTLS, traces *tracing) ([]node, error) {
	at := func(i, offset int) string {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i*devStep+offset))
	}
	var seeds []string
	for i := range count {
		seeds = append(seeds, at(i, 3))
	}
	// Otherwise a connection of the first nodes might get a port of the last by chance.
	held := make([]ports, count)
	if a.alone {
		for i := range held {
			held[i].hold(at(i, 0), at(i, 1), at(i, 2), at(i, 3))
		}
	}
	defer func() {
		for i := range held {
			held[i].free()
		}
	}()
	var nodes []node
	for i := range count {
		held[i].free()
		cfg := c.Mesh
		cfg.Name, cfg.DataDir, cfg.Seeds = devName(i), "", seeds
		cfg.HTTPListen, cfg.GRPCListen, cfg.PeerListen, cfg.GossipListen = at(i, 0), at(i, 1), at(i, 2), at(i, 3)
		if count == 1 {
			cfg.Seeds, cfg.Found = nil, true
		}
		var err error
		if cfg.TLS, err = d.node(cfg.Name, cfg.Cluster); err != nil {
			return nodes, fmt.Errorf("node %s: %w", cfg.Name, err)
		}
		if cfg.TracerProvider, err = traces.provider(cfg.Name); err != nil {
			return nodes, err
		}
		n, err := a.newNode(cfg)
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

// ports are sockets that reserve ports, so that the system assigns none of them to a
// connection.
type ports []io.Closer

// hold binds addresses for TCP and UDP. It skips addresses in use: the node that needs one
// reports an error that says what it is for.
func (p *ports) hold(addrs ...string) {
	for _, addr := range addrs {
		if l, err := net.Listen("tcp", addr); err == nil {
			*p = append(*p, l)
		}
		if c, err := net.ListenPacket("udp", addr); err == nil {
			*p = append(*p, c)
		}
	}
}

func (p *ports) free() {
	for _, c := range *p {
		_ = c.Close()
	}
	*p = nil
}

func devName(i int) string { return string([]byte{'a' + intconv.Uint8(i)}) }

// waitReady waits for all nodes except those that have left.
func waitReady(ctx context.Context, nodes []node) error {
	for i, n := range nodes {
		if err := n.WaitReady(ctx); err != nil && !hasLeft(n) {
			return fmt.Errorf("node %s: %w", devName(i), err)
		}
	}
	return nil
}

// hasLeft reports whether a node has left the mesh in good order.
func hasLeft(n node) bool {
	select {
	case <-n.Done():
		return n.Err() == nil
	default:
		return false
	}
}

// nodeEnds returns a channel of the indexes of nodes that end by themselves. quit stops
// waiting for them.
func nodeEnds(nodes []node) (ended <-chan int, quit func()) {
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

func killAll(nodes []node) {
	for _, n := range nodes {
		n.Kill()
	}
}

// printDev prints the addresses of the nodes and commands to try.
func (a *app) printDev(nodes []node, d *devTLS) {
	noun := "nodes are"
	if len(nodes) == 1 {
		noun = "node is"
	}
	fmt.Fprintf(a.stdout, "A mesh of %d: the %s ready. Nothing is written to disk; Ctrl-C stops it.\n\n", len(nodes), noun)
	rows := [][]string{{"  NODE", "HTTP", "GRPC", "PEERS", "GOSSIP"}}
	var servers []string
	for i, n := range nodes {
		at := n.Addrs()
		rows = append(rows, []string{"  " + devName(i), at.HTTP, at.GRPC, at.Peer, at.Gossip})
		servers = append(servers, at.GRPC)
	}
	_ = text.Table(a.stdout, rows) // a closed stdout is no reason to stop the nodes
	first, last := nodes[0].Addrs(), nodes[len(nodes)-1].Addrs()
	curl, scheme := d.curl()
	fmt.Fprintf(a.stdout, `
Try, in another terminal:

  # acquire a lock over HTTP at the first node, and read it at the last
  %[6]s %[7]s://%[1]s/v1/locks/demo -d '{"clientId":"me","ttl":"60s"}'
  %[6]s %[7]s://%[2]s/v1/locks/demo

  # run a command under a lock: start it in two terminals
  export SHARELOCK_SERVER=%[3]s
%[5]s  %[4]s lock build -- sh -c 'echo "mine, token $SHARELOCK_TOKEN"; sleep 5'

  # show the locks, and the members of the mesh
  %[4]s list
  %[4]s members
`, first.HTTP, last.HTTP, strings.Join(servers, ","), a.name(), d.exports(), curl, scheme)
}
