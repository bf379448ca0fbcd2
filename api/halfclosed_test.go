package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/refuse"
)

// endsWithContext is a node whose calls fail once their contexts have ended.
type endsWithContext struct{ *fakeNode }

func (n endsWithContext) Renew(ctx context.Context, key string, token sharelock.Token, ttl time.Duration, metadata map[string]string) (sharelock.Hold, error) {
	if err := ctx.Err(); err != nil {
		return sharelock.Hold{}, err
	}
	return n.fakeNode.Renew(ctx, key, token, ttl, metadata)
}

func (n endsWithContext) Get(ctx context.Context, key string) (sharelock.KeyState, error) {
	if err := ctx.Err(); err != nil {
		return sharelock.KeyState{}, err
	}
	return n.fakeNode.Get(ctx, key)
}

func (n endsWithContext) Release(ctx context.Context, key string, token sharelock.Token, once bool) (sharelock.Hold, error) {
	if err := ctx.Err(); err != nil {
		return sharelock.Hold{}, err
	}
	return n.fakeNode.Release(ctx, key, token, once)
}

// A request that does not wait in a queue is served although its caller has closed its half of the
// connection, which looks to net/http as if the caller had gone.
func TestHalfClosedIsServed(t *testing.T) {
	node := endsWithContext{newFake()}
	h, err := node.Acquire(t.Context(), sharelock.AcquireRequest{Key: "k", ClientID: "c", TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	handler := NewHTTP(node, Options{}).Handler
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct{ method, path, body string }{
		{http.MethodPatch, "/v1/locks/k", `{"token":"` + h.Token.String() + `"}`},
		{http.MethodGet, "/v1/locks/k", ""},
		{http.MethodDelete, "/v1/locks/k?token=" + h.Token.String(), ""},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(gone, tt.method, tt.path, strings.NewReader(tt.body)))
		if w.Code != http.StatusOK {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
}

// entryNode is a node whose first acquire is in flight until its context has ended: the caller
// disconnects before the acquire is granted.
type entryNode struct {
	*fakeNode
	entered chan struct{}
	once    sync.Once
}

func (n *entryNode) Acquire(ctx context.Context, r sharelock.AcquireRequest) (sharelock.Hold, error) {
	first := false
	n.once.Do(func() { first = true })
	if first {
		close(n.entered)
		<-ctx.Done()
		return sharelock.Hold{}, ctx.Err()
	}
	return n.fakeNode.Acquire(ctx, r)
}

// overTCP serves a node at a TCP port and dials it. served is closed when the first request was served.
func overTCP(t *testing.T, node Node) (_ *net.TCPConn, served <-chan struct{}) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewHTTP(node, Options{})
	handled, ended, next := make(chan struct{}), make(chan error, 1), server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(handled)
		next.ServeHTTP(w, r)
	})
	go func() { ended <- server.Serve(refuse.Sessions(l, sharelock.ErrWrongPort)) }()
	t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-ended
	})
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // closing twice is harmless
	return conn.(*net.TCPConn), handled
}

// An acquire that need not wait is served although its caller has closed its half of the connection. One
// that would have to wait ends.
func TestHalfClosedAcquire(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what was acknowledged")
	}
	for _, tt := range []struct {
		path, body string
		held       bool
		status     int
	}{
		{"/v1/locks/k", `{}`, false, http.StatusOK},
		{"/v1/locks/k", `{"requestId":"r"}`, false, http.StatusOK},
		{"/v1/locks/k", `{"wait":"0s"}`, true, http.StatusConflict},
		{"/v1/locks/k", `{"wait":"60s"}`, true, 499},
		{"/v1/locks/k", `{"wait":"60s","requestId":"r"}`, true, 499},
		{"/lock", `{"key":"k"}`, false, http.StatusOK},
		{"/lock", `{"key":"k","timeoutMs":60000}`, true, 499},
	} {
		node := &entryNode{fakeNode: newFake(), entered: make(chan struct{})}
		if tt.held {
			hold(t, node.fakeNode, "k")
		}
		conn, _ := overTCP(t, node)
		send(t, conn, post(tt.path, tt.body))
		<-node.entered
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer := bufio.NewReader(conn)
		if status, body := receive(t, answer); status != tt.status || !strings.HasPrefix(body, "{") {
			t.Errorf("%s %s, held %t: %d %s", tt.path, tt.body, tt.held, status, body)
		}
		if _, err := answer.ReadByte(); err != io.EOF {
			t.Errorf("%s %s: after the answer: %v, want the end", tt.path, tt.body, err)
		}
		if !isHeld(t, node.fakeNode, "k") {
			t.Errorf("%s %s: the key is not held", tt.path, tt.body)
		}
	}
}

// slowNode is an entryNode whose second acquire is granted when allowed is closed.
type slowNode struct {
	*entryNode
	calls   atomic.Int64
	again   chan struct{}
	allowed chan struct{}
}

func (n *slowNode) Acquire(ctx context.Context, r sharelock.AcquireRequest) (sharelock.Hold, error) {
	if n.calls.Add(1) == 2 {
		close(n.again)
		<-n.allowed
	}
	return n.entryNode.Acquire(ctx, r)
}

// Shutdown waits for the call of a caller that has closed its half of the connection: what is granted to it
// cannot be released once the node has ended.
func TestShutdownWaitsForHalfClosed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what was acknowledged")
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	node := &slowNode{
		entryNode: &entryNode{fakeNode: newFake(), entered: make(chan struct{})}, again: make(chan struct{}), allowed: make(chan struct{}),
	}
	server, ended := NewHTTP(node, Options{}), make(chan error, 1)
	go func() { ended <- server.Serve(refuse.Sessions(l, sharelock.ErrWrongPort)) }()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send(t, conn, post("/v1/locks/k", `{}`))
	<-node.entered
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-node.again
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := server.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown while the call is in flight: got %v, want %v", err, context.DeadlineExceeded)
	}
	close(node.allowed)
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-ended
	if status, _ := receive(t, bufio.NewReader(conn)); status != http.StatusOK {
		t.Errorf("got status %d", status)
	}
}

// A caller that has closed its connection gets no lock: nothing is granted before it is known that the
// caller still reads.
func TestClosedAcquire(t *testing.T) {
	for _, path := range []string{"/v1/locks/k", "/lock"} {
		for _, reset := range []bool{false, true} {
			node := &entryNode{fakeNode: newFake(), entered: make(chan struct{})}
			conn, served := overTCP(t, node)
			send(t, conn, post(path, `{"key":"k"}`))
			<-node.entered
			if reset {
				if err := conn.SetLinger(0); err != nil {
					t.Fatal(err)
				}
			}
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			<-served
			if node.last.Key != "" || isHeld(t, node.fakeNode, "k") {
				t.Errorf("%s, reset %t: the key was acquired for %q", path, reset, node.last.ClientID)
			}
		}
	}
}
