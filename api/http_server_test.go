package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// pipeListener is a listener of net.Pipe connections. They buffer nothing, so a client that does not read
// blocks the server at once. Their deadlines work when net/http sets and clears them all the time. (Those
// of bufconn may fire after they were cleared.)
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

// serveHTTP runs srv on a memory listener until the test ends, and dials it.
func serveHTTP(t *testing.T, srv *http.Server) func() net.Conn {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(l); err != http.ErrServerClosed {
			t.Errorf("Serve returned %v", err)
		}
	})
	var conns []net.Conn
	t.Cleanup(func() {
		for _, c := range conns {
			_ = c.Close() // closing twice is harmless
		}
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		wg.Wait()
	})
	return func() net.Conn {
		t.Helper()
		c := l.dial()
		// A limit for the case that the test hangs.
		if err := c.SetDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		return c
	}
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: node\r\nX-Client-Id: c\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func receive(t *testing.T, r *bufio.Reader) (int, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func hold(t *testing.T, node *fakeNode, key string) {
	t.Helper()
	if _, err := node.Acquire(t.Context(), sharelock.AcquireRequest{Key: key, ClientID: "holder"}); err != nil {
		t.Fatal(err)
	}
}

func TestHTTPTimeoutsAreSet(t *testing.T) {
	srv := NewHTTP(newFake(), Options{})
	if srv.ReadHeaderTimeout != 5*time.Second || srv.ReadTimeout <= 0 || srv.IdleTimeout <= 0 || srv.MaxHeaderBytes != 16<<10 {
		t.Errorf("%v %v %v %v", srv.ReadHeaderTimeout, srv.ReadTimeout, srv.IdleTimeout, srv.MaxHeaderBytes)
	}
	if srv.WriteTimeout != 0 {
		t.Errorf("WriteTimeout %v would cut long waits off", srv.WriteTimeout)
	}
}

// A client that sends its headers slowly is disconnected, even if it sends all the time.
func TestHTTPSlowHeaders(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		srv := NewHTTP(newFake(), Options{})
		c := serveHTTP(t, srv.Server)()
		send(t, c, "GET /healthz HTTP/1.1\r\nX-Slow: ")
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		var err error
		for err == nil {
			<-tick.C
			_, err = io.WriteString(c, "x")
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the connection was not cut: %v", err)
		}
	})
}

func TestHTTPSlowBody(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		srv := NewHTTP(newFake(), Options{})
		c := serveHTTP(t, srv.Server)()
		send(t, c, "POST /v1/locks/k HTTP/1.1\r\nHost: node\r\nContent-Length: 100\r\n\r\n{")
		r := bufio.NewReader(c)
		if code, body := receive(t, r); code != 400 || !strings.Contains(body, `"INVALID_ARGUMENT"`) {
			t.Errorf("%d %s", code, body)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("the connection was not cut: %v", err)
		}
	})
}

// The time for sending a request does not count against the wait for the lock.
func TestHTTPWaitOutlivesReadTimeout(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		node := newFake()
		hold(t, node, "k")
		srv := NewHTTP(node, Options{})
		dial := serveHTTP(t, srv.Server)
		for path, body := range map[string]string{"/v1/locks/k": `{"wait":"60s"}`, "/lock": `{"key":"k","timeoutMs":60000}`} {
			c := dial()
			send(t, c, post(path, body))
			code, answer := receive(t, bufio.NewReader(c))
			if len(node.ends) > 0 {
				t.Fatalf("%s: the wait was cut off by %v", path, <-node.ends)
			}
			if code != 409 && code != 408 {
				t.Errorf("%s: %d %s", path, code, answer)
			}
		}
	})
}

func TestHTTPCallerLeaves(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		node := newFake()
		hold(t, node, "k")
		dial := serveHTTP(t, NewHTTP(node, Options{}).Server)
		for path, body := range map[string]string{"/v1/locks/k": `{"wait":"60s"}`, "/lock": `{"key":"k","timeoutMs":60000}`} {
			c := dial()
			send(t, c, post(path, body))
			<-node.waits
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if got := <-node.ends; got != context.Canceled {
				t.Errorf("%s: the node saw %v", path, got)
			}
		}
		if l, err := node.Get(t.Context(), "k"); err != nil || len(l.Waiters) != 0 {
			t.Errorf("left behind: %+v, %v", l, err)
		}
	})
}

// A client that does not read its answer blocks its handler for at most the write timeout.
func TestHTTPSlowReader(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		node := newFake()
		for i := range 100 {
			hold(t, node, fmt.Sprint("some/quite/long/key/", i))
		}
		s := newHTTPAPI(node, Options{})
		inner := s.guard(s.routes())
		done := make(chan struct{})
		c := serveHTTP(t, &http.Server{
			ReadHeaderTimeout: time.Second,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(done)
				inner.ServeHTTP(w, r)
			}),
		})()
		send(t, c, "GET /v1/locks HTTP/1.1\r\nHost: node\r\n\r\n")
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Error("the handler hangs")
		}
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			// The beginning may have got through; the rest must not.
			if n, err := io.Copy(io.Discard, c); err != nil || n > 64<<10 {
				t.Errorf("%d bytes more, %v", n, err)
			}
		}
	})
}

// deadlines records the write deadlines that a handler sets.
type deadlines struct {
	*httptest.ResponseRecorder
	write []time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = append(d.write, t); return nil }

// No deadline is left on a connection for the next request.
func TestHTTPWriteDeadlineIsTakenBack(t *testing.T) {
	h := NewHTTP(newFake(), Options{}).Handler
	for _, path := range []string{"/v1/locks", "/v1/locks/none", "/nowhere", "/ping"} {
		d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		h.ServeHTTP(d, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		if len(d.write) != 2 || time.Until(d.write[0]) <= 0 || !d.write[1].IsZero() {
			t.Errorf("%s: write deadlines %v, want one to come, then none", path, d.write)
		}
	}
}

// Requests that net/http refuses before they reach the handlers.
func TestHTTPMalformedRequests(t *testing.T) {
	dial := serveHTTP(t, NewHTTP(newFake(), Options{}).Server)
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"bad escape":   {"GET /v1/locks/%zz HTTP/1.1\r\nHost: n\r\n\r\n", 400},
		"cut escape":   {"GET /v1/locks/%2 HTTP/1.1\r\nHost: n\r\n\r\n", 400},
		"no host":      {"GET /healthz HTTP/1.1\r\n\r\n", 400},
		"two lengths":  {"POST /lock HTTP/1.1\r\nHost: n\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
		"huge headers": {"GET /healthz HTTP/1.1\r\nHost: n\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431},
		"too large": {fmt.Sprintf("POST /v1/locks/k HTTP/1.1\r\nHost: n\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
			64<<10+1), 413},
		"quote in path": {"GET /v1/locks/\"a%2Fb HTTP/1.1\r\nHost: n\r\n\r\n", 404},
		"not UTF-8":     {"GET /v1/locks/\xff\xfe HTTP/1.1\r\nHost: n\r\n\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial()
			go func() { _, _ = io.WriteString(conn, c.request) }() // cut off when the server has read enough
			if code, body := receive(t, bufio.NewReader(conn)); code != c.status {
				t.Errorf("%d %s, want %d", code, body, c.status)
			}
		})
	}
}

// Many requests on one connection, one of them waiting, do not affect each other.
func TestHTTPKeepAlive(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		node := newFake()
		hold(t, node, "k")
		c := serveHTTP(t, NewHTTP(node, Options{}).Server)()
		r := bufio.NewReader(c)
		for range 3 {
			send(t, c, "HEAD /healthz HTTP/1.1\r\nHost: n\r\n\r\n")
			resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodHead})
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%v, %v", resp, err)
			}
			send(t, c, post("/v1/locks/k", `{"wait":"10s"}`))
			if code, body := receive(t, r); code != 409 {
				t.Fatalf("%d %s", code, body)
			}
			send(t, c, post("/v1/locks/k", `{`))
			if code, body := receive(t, r); code != 400 {
				t.Fatalf("%d %s", code, body)
			}
		}
	})
}
