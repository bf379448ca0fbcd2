package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/host"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// fakeNode is a node controlled by the test.
type fakeNode struct {
	cfg mesh.Config
	// startErr fails Start, ready WaitReady.
	startErr, ready error
	// reload fails Reload.
	reload error
	// stop is called by Stop.
	stop func(ctx context.Context) error

	work atomic.Uint64
	done chan struct{}
	once sync.Once
	err  error

	mu  sync.Mutex
	log []string
}

func (n *fakeNode) note(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, what)
}

func (n *fakeNode) did() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.log, " ")
}

func (n *fakeNode) Start() error {
	n.note("start")
	return n.startErr
}

func (n *fakeNode) WaitReady(context.Context) error {
	n.note("wait")
	return n.ready
}

func (n *fakeNode) Stop(ctx context.Context) error {
	n.note("stop")
	if n.stop != nil {
		return n.stop(ctx)
	}
	return nil
}

func (n *fakeNode) Kill() { n.note("kill") }

func (n *fakeNode) end(err error) { n.once.Do(func() { n.err = err; close(n.done) }) }

func (n *fakeNode) Done() <-chan struct{} { return n.done }
func (n *fakeNode) Err() error            { return n.err }

func (n *fakeNode) Reload() error {
	n.note("reload")
	return n.reload
}

func (n *fakeNode) Worked() uint64 { return n.work.Load() }

func (n *fakeNode) Addrs() mesh.Addrs {
	return mesh.Addrs{HTTP: n.cfg.HTTPListen, GRPC: n.cfg.GRPCListen, Peer: n.cfg.PeerListen, Gossip: n.cfg.GossipListen}
}

// withNodes makes the app use fake nodes, which prepare may change.
func withNodes(a *testApp, prepare func(n *fakeNode)) func() []*fakeNode {
	var mu sync.Mutex
	var nodes []*fakeNode
	a.newNode = func(cfg mesh.Config) (host.Node, error) {
		n := &fakeNode{cfg: cfg, done: make(chan struct{})}
		prepare(n)
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, n)
		return n, nil
	}
	return func() []*fakeNode {
		mu.Lock()
		defer mu.Unlock()
		return nodes
	}
}

// background runs a command and sends its exit code on a channel.
func (a *testApp) background(args ...string) <-chan int {
	code := make(chan int, 1)
	go func() { code <- a.run(context.Background(), args) }()
	return code
}

func TestServe(t *testing.T) {
	t.Run("signal", func(t *testing.T) {
		virtual.Test(t, func(t *testing.T) {
			a := newApp()
			a.signals = make(chan os.Signal, 2)
			a.environ = []string{"SHARELOCK_SHUTDOWN_TIMEOUT=7s"}
			nodes := withNodes(a, func(n *fakeNode) {
				n.stop = func(ctx context.Context) error {
					deadline, _ := ctx.Deadline()
					n.note(time.Until(deadline).String())
					return nil
				}
			})
			code := a.background("serve", "--node-name", "n1", "--found", "--log-format", "json", "--seeds", "x:1,y:1")
			synctest.Wait()
			a.signals <- syscall.SIGTERM
			if got := <-code; got != exit.OK {
				t.Errorf("got exit code %d: %s", got, a.err)
			}
			n := nodes()[0]
			if got, want := n.did(), "start stop 7s"; got != want {
				t.Errorf("the node did %q, want %q", got, want)
			}
			if n.cfg.Name != "n1" || !n.cfg.Found || len(n.cfg.Seeds) != 2 || n.cfg.Logger == nil {
				t.Errorf("got config %+v", n.cfg)
			}
			if !strings.Contains(a.err.String(), `"msg":"node started"`) {
				t.Errorf("got log %q, want JSON", a.err)
			}
		})
	})
	t.Run("reload", func(t *testing.T) {
		virtual.Test(t, func(t *testing.T) {
			for _, tt := range []struct {
				err  error
				said string
			}{{nil, "msg=reloaded"}, {errors.New("bad certificate"), "level=ERROR"}} {
				a := newApp()
				a.signals = make(chan os.Signal, 3)
				nodes := withNodes(a, func(n *fakeNode) { n.reload = tt.err })
				code := a.background("serve", "--found", "--insecure")
				synctest.Wait()
				a.signals <- syscall.SIGHUP
				synctest.Wait()
				a.signals <- syscall.SIGHUP
				synctest.Wait()
				a.signals <- syscall.SIGTERM
				if got := <-code; got != exit.OK {
					t.Errorf("got exit code %d: %s", got, a.err)
				}
				n := nodes()[0]
				if got, want := n.did(), "start reload reload stop"; got != want {
					t.Errorf("the node did %q, want %q", got, want)
				}
				if !n.cfg.Insecure || strings.Count(a.err.String(), tt.said) != 2 {
					t.Errorf("insecure %v, log %q, want %q", n.cfg.Insecure, a.err, tt.said)
				}
			}
		})
	})
	t.Run("keep awake", func(t *testing.T) {
		virtual.Test(t, func(t *testing.T) {
			a := newApp()
			a.signals = make(chan os.Signal, 2)
			a.environ = []string{"SHARELOCK_NODE__KEEP_AWAKE=true"}
			var d device
			a.openLatency = func() (io.WriteCloser, error) { return &d, nil }
			nodes := withNodes(a, func(*fakeNode) {})
			code := a.background("serve", "--found")
			synctest.Wait()
			time.Sleep(time.Second)
			synctest.Wait()
			if d.Len() > 0 {
				t.Errorf("said %q while there was nothing to do", d.String())
			}
			nodes()[0].work.Add(1000)
			time.Sleep(time.Second)
			synctest.Wait()
			if d.Len() != 4 || d.closed {
				t.Errorf("said %q, closed %v", d.String(), d.closed)
			}
			a.signals <- syscall.SIGTERM
			if got := <-code; got != exit.OK || !d.closed {
				t.Errorf("got exit code %d, closed %v: %s", got, d.closed, a.err)
			}
		})
	})
	t.Run("may not keep awake", func(t *testing.T) {
		a := newApp()
		a.environ = []string{"SHARELOCK_NODE__KEEP_AWAKE=true"}
		a.openLatency = func() (io.WriteCloser, error) { return nil, os.ErrPermission }
		nodes := withNodes(a, func(*fakeNode) {})
		code := a.run(t.Context(), []string{"serve", "--found"})
		if code != exit.Failed || !strings.Contains(a.err.String(), "node.keep_awake: permission denied") || len(nodes()) != 0 {
			t.Errorf("got exit code %d, %d nodes: %s", code, len(nodes()), a.err)
		}
	})
	t.Run("second signal", func(t *testing.T) {
		virtual.Test(t, func(t *testing.T) {
			a := newApp()
			a.signals = make(chan os.Signal, 2)
			release := make(chan struct{})
			nodes := withNodes(a, func(n *fakeNode) {
				n.stop = func(context.Context) error { <-release; return nil }
			})
			code := a.background("serve", "--found")
			a.signals <- syscall.SIGINT
			synctest.Wait()
			select {
			case got := <-code:
				t.Fatalf("ended with %d while the node was still stopping", got)
			default:
			}
			time.Sleep(oneSignal + time.Millisecond)
			a.signals <- syscall.SIGTERM
			if got := <-code; got != 128+15 {
				t.Errorf("got exit code %d", got)
			}
			if got := nodes()[0].did(); got != "start stop kill" {
				t.Errorf("the node did %q", got)
			}
			close(release)
		})
	})
	t.Run("one signal twice", func(t *testing.T) {
		virtual.Test(t, func(t *testing.T) {
			a := newApp()
			a.signals = make(chan os.Signal, 2)
			release := make(chan struct{})
			nodes := withNodes(a, func(n *fakeNode) {
				n.stop = func(context.Context) error { <-release; return nil }
			})
			code := a.background("serve", "--found")
			a.signals <- syscall.SIGTERM
			synctest.Wait()
			a.signals <- syscall.SIGTERM // as GNU timeout does
			synctest.Wait()
			time.Sleep(oneSignal)
			a.signals <- syscall.SIGINT
			synctest.Wait()
			close(release)
			if got := <-code; got != exit.OK {
				t.Errorf("got exit code %d: %s", got, a.err)
			}
			if got := nodes()[0].did(); got != "start stop" {
				t.Errorf("the node did %q", got)
			}
		})
	})
	t.Run("stop fails", func(t *testing.T) {
		virtual.Test(t, func(t *testing.T) {
			a := newApp()
			a.signals = make(chan os.Signal, 2)
			withNodes(a, func(n *fakeNode) {
				n.stop = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
			})
			code := a.background("serve", "--found")
			start := time.Now()
			a.signals <- syscall.SIGTERM
			if got := <-code; got != exit.Failed {
				t.Errorf("got exit code %d", got)
			}
			if got := time.Since(start); got != 30*time.Second {
				t.Errorf("stopped for %v, want shutdown_timeout", got)
			}
		})
	})
	t.Run("ends by itself", func(t *testing.T) {
		for _, why := range []error{errors.New(`the name "n1" is taken`), nil} {
			a := newApp()
			nodes := withNodes(a, func(n *fakeNode) { n.end(why) })
			code, want := a.run(t.Context(), []string{"serve", "--found", "--log-level", "error"}), exit.OK
			if why != nil {
				want = exit.Failed
				if line := oneLineOf(t, a); !strings.Contains(line, why.Error()) {
					t.Errorf("got %q", line)
				}
			}
			if code != want {
				t.Errorf("got exit code %d, want %d", code, want)
			}
			if got := nodes()[0].did(); got != "start kill" {
				t.Errorf("the node did %q", got)
			}
		}
	})
	t.Run("start fails", func(t *testing.T) {
		a := newApp()
		nodes := withNodes(a, func(n *fakeNode) { n.startErr = errors.New("no start") })
		a.command(t, exit.Failed, "serve", "--found")
		if got := nodes()[0].did(); got != "start kill" {
			t.Errorf("the node did %q", got)
		}
		oneLineOf(t, a)
	})
}

// A port in use is reported in one clear line, by the real node.
func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := newApp()
	a.newNode = func(cfg mesh.Config) (host.Node, error) { return mesh.New(cfg) }
	a.command(t, exit.Failed, "serve", "--found", "--data-dir", "", "--http-listen", l.Addr().String(),
		"--grpc-listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0", "--gossip-listen", "127.0.0.1:0", "--log-level", "error")
	if line := oneLineOf(t, a); !strings.Contains(line, "http.listen") || !strings.Contains(line, "address already in use") {
		t.Errorf("got %q", line)
	}
	// Without seeds and without --found a node would wait for ever.
	a = newApp()
	a.newNode = func(cfg mesh.Config) (host.Node, error) { return mesh.New(cfg) }
	a.command(t, exit.Failed, "serve", "--data-dir", "", "--log-level", "error")
	if line := oneLineOf(t, a); !strings.Contains(line, "mesh.seeds") {
		t.Errorf("got %q", line)
	}
}

func TestDev(t *testing.T) {
	for _, count := range []int{1, 3} {
		virtual.Test(t, func(t *testing.T) {
			a := newApp()
			a.signals = make(chan os.Signal, 2)
			nodes := withNodes(a, func(*fakeNode) {})
			code := a.background("dev", "--nodes", fmt.Sprint(count))
			synctest.Wait()
			a.signals <- os.Interrupt
			if got := <-code; got != exit.OK {
				t.Errorf("got exit code %d: %s", got, a.err)
			}
			golden(t, fmt.Sprintf("dev_%d", count), a.out.String())
			if len(nodes()) != count {
				t.Fatalf("got %d nodes, want %d", len(nodes()), count)
			}
			for i, n := range nodes() {
				if n.cfg.Name != nodeName(i) || n.cfg.DataDir != "" || n.did() != "start wait kill" {
					t.Errorf("node %d: name %q, data dir %q, did %q", i, n.cfg.Name, n.cfg.DataDir, n.did())
				}
				if alone := count == 1; n.cfg.Found != alone || (len(n.cfg.Seeds) == 0) != alone {
					t.Errorf("node %d: found %v, seeds %v", i, n.cfg.Found, n.cfg.Seeds)
				}
			}
			if a.err.String() != "" {
				t.Errorf("got stderr %q, want quiet", a.err)
			}
		})
	}
	a := newApp()
	withNodes(a, func(n *fakeNode) {
		if n.cfg.Name == "c" {
			n.end(errors.New("c is gone"))
		}
	})
	a.command(t, exit.Failed, "dev")
	if line := oneLineOf(t, a); !strings.Contains(line, "node c: c is gone") {
		t.Errorf("got %q", line)
	}

	a = newApp()
	nodes := withNodes(a, func(n *fakeNode) {
		if n.cfg.Name == "b" {
			n.ready = errors.New("never")
		}
	})
	a.command(t, exit.Failed, "dev")
	oneLineOf(t, a)
	for _, n := range nodes() {
		if !strings.HasSuffix(n.did(), "kill") {
			t.Errorf("node %s did %q: it still runs", n.cfg.Name, n.did())
		}
	}
}

// When a node leaves, the others keep running.
func TestDevLeave(t *testing.T) {
	for _, test := range []struct {
		name string
		// last is how the last node ends.
		last   error
		code   int
		stderr string
	}{
		{"all leave", nil, exit.OK, "sharelock: node b has left\nsharelock: node c has left\nsharelock: node a has left\n"},
		{"the last fails", errors.New("lost"), exit.Failed, "sharelock: node b has left\nsharelock: node c has left\nsharelock: node a: lost\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				a := newApp()
				a.signals = make(chan os.Signal, 2)
				nodes := withNodes(a, func(*fakeNode) {})
				code := a.background("dev")
				for _, i := range []int{1, 2} {
					synctest.Wait()
					nodes()[i].end(nil)
					synctest.Wait()
					select {
					case got := <-code:
						t.Fatalf("ended with %d when node %s left", got, nodeName(i))
					default:
					}
					if got := nodes()[i].did(); got != "start wait kill" {
						t.Errorf("node %s did %q, want it to let go of its ports", nodeName(i), got)
					}
					if got := nodes()[0].did(); got != "start wait" {
						t.Errorf("node a did %q, want it to run", got)
					}
				}
				nodes()[0].end(test.last)
				if got := <-code; got != test.code {
					t.Errorf("got exit code %d, want %d", got, test.code)
				}
				if got := a.err.String(); got != test.stderr {
					t.Errorf("got stderr %q, want %q", got, test.stderr)
				}
			})
		})
	}
	t.Run("before the others are ready", func(t *testing.T) {
		virtual.Test(t, func(t *testing.T) {
			a := newApp()
			a.signals = make(chan os.Signal, 2)
			withNodes(a, func(n *fakeNode) {
				if n.cfg.Name == "b" {
					n.ready = errors.New("closed")
					n.end(nil)
				}
			})
			code := a.background("dev")
			synctest.Wait()
			a.signals <- os.Interrupt
			if got := <-code; got != exit.OK {
				t.Errorf("got exit code %d: %s", got, a.err)
			}
			if got, want := a.err.String(), "sharelock: node b has left\n"; got != want {
				t.Errorf("got stderr %q, want %q", got, want)
			}
		})
	})
}

// nodeName returns the name of a node of dev.
func nodeName(i int) string { return string("abcdefghijklmnopqrstuvwxyz"[i]) }

// oneSignal is how long after the first signal another one counts as the same.
const oneSignal = 500 * time.Millisecond

// device is a device that keeps processors awake.
type device struct {
	bytes.Buffer
	closed bool
}

func (d *device) Close() error {
	d.closed = true
	return nil
}
