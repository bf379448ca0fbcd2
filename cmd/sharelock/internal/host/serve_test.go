package host

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/config"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// scriptedNode is a node that records its calls.
type scriptedNode struct {
	cfg  mesh.Config
	done chan struct{}
	err  error
	// hangs makes Stop wait for its context.
	hangs bool

	mu  sync.Mutex
	log []string // guarded by mu
}

func (n *scriptedNode) note(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, what)
}

// did returns the calls of the node.
func (n *scriptedNode) did() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.log)
}

func (n *scriptedNode) Start() error                    { n.note("start"); return nil }
func (n *scriptedNode) WaitReady(context.Context) error { n.note("wait"); return nil }
func (n *scriptedNode) Kill()                           { n.note("kill") }
func (n *scriptedNode) Done() <-chan struct{}           { return n.done }
func (n *scriptedNode) Err() error                      { return n.err }
func (n *scriptedNode) Addrs() mesh.Addrs {
	return mesh.Addrs{HTTP: n.cfg.HTTPListen, GRPC: n.cfg.GRPCListen}
}
func (n *scriptedNode) Worked() uint64 { return 0 }
func (n *scriptedNode) Reload() error  { n.note("reload"); return nil }

func (n *scriptedNode) Stop(ctx context.Context) error {
	n.note("stop")
	if n.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// hosted is a host with scripted nodes.
type hosted struct {
	Host
	signals  chan os.Signal
	out, err bytes.Buffer
	nodes    []*scriptedNode
}

func newHosted(prepare func(n *scriptedNode)) *hosted {
	h := &hosted{signals: make(chan os.Signal, 2)}
	h.Host = Host{
		Name: "sharelock", Stdout: &h.out, Stderr: &h.err,
		Notify: func(...os.Signal) (<-chan os.Signal, func()) { return h.signals, func() {} },
		NewNode: func(cfg mesh.Config) (Node, error) {
			n := &scriptedNode{cfg: cfg, done: make(chan struct{})}
			prepare(n)
			h.nodes = append(h.nodes, n)
			return n, nil
		},
	}
	return h
}

// Supervise: what ends a node, and how the command ends then.
func TestSupervise(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(n *scriptedNode)
		do      func(h *hosted)
		code    int
		did     string
	}{
		{
			"a signal", func(*scriptedNode) {},
			func(h *hosted) { h.signals <- syscall.SIGTERM }, exit.OK, "start stop",
		},
		{
			"a reload, and a signal", func(*scriptedNode) {},
			func(h *hosted) { h.signals <- syscall.SIGHUP; h.signals <- syscall.SIGINT }, exit.OK, "start reload stop",
		},
		{
			"a node that hangs", func(n *scriptedNode) { n.hangs = true },
			func(h *hosted) { h.signals <- syscall.SIGTERM }, exit.Failed, "start stop",
		},
		{
			"a signal that comes twice", func(n *scriptedNode) { n.hangs = true },
			func(h *hosted) { h.signals <- syscall.SIGTERM; h.signals <- syscall.SIGTERM }, exit.Failed, "start stop",
		},
		{
			"a second signal", func(n *scriptedNode) { n.hangs = true },
			func(h *hosted) {
				h.signals <- syscall.SIGTERM
				time.Sleep(sameSignal + time.Millisecond)
				h.signals <- syscall.SIGTERM
			}, exit.Signal + int(syscall.SIGTERM), "start stop kill",
		},
		{
			"a node that leaves", func(*scriptedNode) {},
			func(h *hosted) { close(h.nodes[0].done) }, exit.OK, "start kill",
		},
		{
			"a node that fails", func(n *scriptedNode) { n.err = errors.New("broken on purpose") },
			func(h *hosted) { close(h.nodes[0].done) }, exit.Failed, "start kill",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				h := newHosted(test.prepare)
				ended := make(chan error, 1)
				go func() { ended <- h.Serve(t.Context(), config.Default(), nil) }()
				synctest.Wait()
				test.do(h)
				err := <-ended
				synctest.Wait()
				code := exit.OK
				if e, ok := errors.AsType[*exit.Error](err); ok {
					code = e.Code
				}
				if got := strings.Join(h.nodes[0].did(), " "); code != test.code || got != test.did {
					t.Errorf("got code %d (%v), the node did %q; want %d, %q", code, err, got, test.code, test.did)
				}
				if !strings.Contains(h.err.String(), "node started") {
					t.Errorf("got log %q", h.err.String())
				}
			})
		})
	}
}

// A mesh in one process has nodes with different ports, and ends when all of them have ended.
func TestDevMesh(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		h := newHosted(func(*scriptedNode) {})
		ended := make(chan error, 1)
		go func() { ended <- h.Dev(t.Context(), config.Default(), DevMesh{Nodes: 3, Port: 1000}) }()
		synctest.Wait()
		if !strings.Contains(h.out.String(), "A mesh of 3") || h.nodes[2].cfg.GRPCListen != "127.0.0.1:1021" || h.nodes[1].cfg.Name != "b" {
			t.Errorf("got %s, node c at %s", h.out.String(), h.nodes[2].cfg.GRPCListen)
		}
		close(h.nodes[1].done)
		synctest.Wait()
		if !strings.Contains(h.err.String(), "node b has left") {
			t.Errorf("got %q", h.err.String())
		}
		h.signals <- syscall.SIGINT
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for _, n := range h.nodes {
			if did := n.did(); did[len(did)-1] != "kill" {
				t.Errorf("node %s did %q", n.cfg.Name, did)
			}
		}
	})
}
