//go:build linux

package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/mesh"
	"github.com/sgkandale/sharelock/mesh/network"
)

// leavers holds the HTTP connections of nodes. They know what a node can know: whether its system has
// accepted an answer, and whether the node was told that the caller has gone.
type leavers struct {
	mu sync.Mutex // guards all below
	// taken holds the keys of grants whose answers the system has accepted completely.
	taken map[string]bool
	// conns holds the connections by their addresses, see pair.
	conns map[string]*leaver
	// came is closed and replaced when a connection arrives.
	came chan struct{}
	// gated: a grant is not written before the node has noticed that its caller is gone.
	gated bool
}

func newLeavers() *leavers {
	return &leavers{taken: map[string]bool{}, conns: map[string]*leaver{}, came: make(chan struct{})}
}

// leaver is a node's end of a connection.
type leaver struct {
	net.Conn
	all  *leavers
	gone chan struct{} // closed when a read reports that the caller has gone
	once sync.Once     // of gone
	shut chan struct{} // closed when the node has closed the connection
	done sync.Once     // of shut
}

// spied is a network that records one listener's connections.
type spied struct {
	network.Network
	http string
	all  *leavers
}

func (n spied) Listen(addr string) (net.Listener, error) {
	l, err := n.Network.Listen(addr)
	if err == nil && addr == n.http {
		l = &spiedListener{l, n.all}
	}
	return l, err
}

type spiedListener struct {
	net.Listener
	all *leavers
}

func (l *spiedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &leaver{Conn: conn, all: l.all, gone: make(chan struct{}), shut: make(chan struct{})}
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	l.all.conns[pair(conn.RemoteAddr(), conn.LocalAddr())] = c
	close(l.all.came)
	l.all.came = make(chan struct{})
	return c, nil
}

func (c *leaver) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.once.Do(func() { close(c.gone) })
	}
	return n, err
}

func (c *leaver) Write(b []byte) (int, error) {
	_, rest, granted := bytes.Cut(b, []byte(`{"hold":{"key":"`))
	if !granted {
		return c.Conn.Write(b)
	}
	c.all.mu.Lock()
	gated := c.all.gated
	c.all.mu.Unlock()
	if gated {
		<-c.gone
	}
	n, err := c.Conn.Write(b)
	if err == nil {
		key, _, _ := strings.Cut(string(rest), `"`)
		c.all.mu.Lock()
		c.all.taken[key] = true
		c.all.mu.Unlock()
	}
	return n, err
}

func (c *leaver) Close() error {
	err := c.Conn.Close()
	c.done.Do(func() { close(c.shut) })
	return err
}

// pair names a connection.
func pair(caller, node net.Addr) string { return caller.String() + " " + node.String() }

// of waits for the node's end of a connection, and removes it from the list: the addresses may be used again.
func (ls *leavers) of(ctx context.Context, conn net.Conn) (*leaver, error) {
	for {
		ls.mu.Lock()
		c, came := ls.conns[pair(conn.LocalAddr(), conn.RemoteAddr())], ls.came
		delete(ls.conns, pair(conn.LocalAddr(), conn.RemoteAddr()))
		ls.mu.Unlock()
		if c != nil {
			return c, nil
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func wait(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leaving is a way to abandon an acquire.
type leaving struct {
	name string
	// gated: see leavers. The caller leaves when it has been granted the key.
	gated bool
	// held: another client holds the key, and releases it when the caller has left. seen: it does so
	// when the node has noticed that.
	held, seen bool
	leave      func(conn *net.TCPConn) error
	// clean: nothing can be written to these callers when they are granted the key. To a caller that has
	// sent a FIN something can be written: it may still read.
	clean bool
}

// reset breaks a connection with a RST.
func reset(conn *net.TCPConn) error { return errors.Join(conn.SetLinger(0), conn.Close()) }

func soon() { time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond) }

// HTTP callers without a request id disconnect by RST and FIN at each stage of an acquire. They
// leave only holds whose answers their node's system has accepted.
func TestHTTPCallersLeave(t *testing.T) {
	all := newLeavers()
	c := cluster.Start(t, cluster.Options{
		Timing:  5 * time.Second,  // a busy machine loses no lease
		MaxTTL:  10 * time.Minute, // no hold expires
		Without: []cluster.Invariant{cluster.Linearizable},
		Configure: func(_ int, cfg *mesh.Config) {
			cfg.Network = spied{cfg.Network, cfg.HTTPListen, all}
		},
	})
	// A limit for the case that the test hangs.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	holder, err := c.Dial(ctx, client.Options{})
	must(t, err)
	for _, way := range []leaving{
		{name: "RST before the answer", gated: true, leave: reset, clean: true},
		{name: "RST at once", leave: reset},
		{name: "RST soon", leave: func(conn *net.TCPConn) error { soon(); return reset(conn) }},
		{name: "FIN at once", leave: func(conn *net.TCPConn) error { return conn.Close() }},
		{name: "FIN soon", leave: func(conn *net.TCPConn) error { soon(); return conn.Close() }},
		{name: "RST while queued", held: true, seen: true, leave: reset, clean: true},
		{name: "FIN while queued", held: true, seen: true, leave: func(conn *net.TCPConn) error { return conn.Close() }},
		{name: "RST while granted", held: true, leave: reset},
		{name: "half-close", leave: halfClose},
	} {
		all.mu.Lock()
		all.gated = way.gated
		all.mu.Unlock()
		const workers, each = 4, 32
		prefix := "leave/" + strings.ReplaceAll(way.name, " ", "-") + "/"
		errs := make([]error, workers)
		var work sync.WaitGroup
		for w := range workers {
			work.Go(func() {
				for i := range each {
					if errs[w] = all.left(ctx, c.Addrs((w+i)%3).HTTP, fmt.Sprint(prefix, w, "/", i), way, holder); errs[w] != nil {
						return
					}
				}
			})
		}
		work.Wait()
		must(t, errors.Join(errs...))
		page, err := holder.List(ctx, sharelock.ListRequest{Prefix: prefix, PageSize: sharelock.MaxPageSize})
		must(t, err)
		t.Logf("%s: %d of %d are held", way.name, len(page.Locks), workers*each)
		all.mu.Lock()
		for _, l := range page.Locks {
			if way.clean || !all.taken[l.Key] {
				t.Errorf("%s: %q is left, its answer was taken: %t", way.name, l.Key, all.taken[l.Key])
			}
		}
		all.mu.Unlock()
	}
	must(t, holder.Close())
}

// halfClose closes the caller's half, and the other half when the node has answered.
func halfClose(conn *net.TCPConn) error {
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, conn)
	return errors.Join(err, conn.Close())
}

// arrived waits until somebody waits for the key, or holds it if nobody else does. It also returns when
// the call on a connection was answered, because the mesh may have been unavailable for a moment.
func arrived(ctx context.Context, c *client.Client, key string, way leaving, node *leaver) error {
	for {
		l, err := c.Get(ctx, key)
		switch {
		case err == nil && (!way.held || len(l.Waiters) > 0):
			return nil
		case err != nil && !errors.Is(err, sharelock.ErrNotHeld):
			return err
		}
		select {
		case <-node.shut:
			return nil
		default:
		}
	}
}

// left acquires a key, leaves, and waits until the node has finished with the request.
func (ls *leavers) left(ctx context.Context, addr, key string, way leaving, holder *client.Client) error {
	var lock *client.Lock
	body := `{"wait":"0s","ttl":"300s"}`
	if way.held {
		var err error
		if lock, err = holder.Acquire(ctx, key); err != nil {
			return err
		}
		body = `{"wait":"60s","ttl":"300s"}`
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // usually for the second time
	node, err := ls.of(ctx, conn)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "POST /v1/locks/%s HTTP/1.1\r\nHost: n\r\nX-Client-Id: c\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", key, len(body), body); err != nil {
		return err
	}
	if way.held || way.gated {
		if err := arrived(ctx, holder, key, way, node); err != nil {
			return err
		}
	}
	if err := way.leave(conn.(*net.TCPConn)); err != nil {
		return err
	}
	if way.seen {
		if err := wait(ctx, node.gone); err != nil {
			return err
		}
	}
	if lock != nil {
		if err := lock.Release(ctx); err != nil {
			return err
		}
	}
	// Then its handler has ended, and has released what it could not deliver.
	return wait(ctx, node.shut)
}
