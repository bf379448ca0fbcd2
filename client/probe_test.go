package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/dial"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// portOf runs a server that handles every connection, and returns its address.
func portOf(t *testing.T, handle func(conn net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				handle(conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		work.Wait()
	})
	return l.Addr().String()
}

// What is not ShareLock at all is told at once, however long the patience is.
func TestNotShareLock(t *testing.T) {
	discard := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	secure.Config.ErrorLog = nil
	other := grpc.NewServer()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = other.Serve(l) })
	defer serving.Wait()
	defer other.Stop()
	for name, test := range map[string]struct{ addr, says string }{
		"mail": {portOf(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, "220 mail.example.com ESMTP\r\n")
			discard(conn)
		}), `it answers "220 mail.example.com ESMTP"`},
		"short answer": {portOf(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, "no\n")
		}), `it answers "no"`},
		"lines": {portOf(t, func(conn net.Conn) {
			// It says nothing before a line is complete.
			b := make([]byte, 1)
			for b[0] != '\n' {
				if _, err := conn.Read(b); err != nil {
					return
				}
			}
			_, _ = io.WriteString(conn, "-ERR unknown command 'PRI'\r\n")
			discard(conn)
		}), `it answers "-ERR unknown command 'PRI'"`},
		"HTTP":       {web.Listener.Addr().String(), "it answers \"HTTP/1.1 "},
		"TLS":        {secure.Listener.Addr().String(), "it speaks TLS"},
		"other gRPC": {l.Addr().String(), "is a server of gRPC that knows no locks"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, transport := range []Transport{0, TransportGRPC} {
				c, err := Dial(t.Context(), []string{test.addr}, Options{Patience: time.Hour, Transport: transport})
				if err == nil {
					_ = c.Close()
				}
				if !errors.Is(err, sharelock.ErrWrongPort) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("transport %d: got %v, want that %s", transport, err, test.says)
				}
			}
		})
	}
}

// A server of TLS that asks for a client's certificate ends the handshake with an alert.
func TestTLSWithClientCertificates(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12} //nolint:gosec // a test
	secure.StartTLS()
	defer secure.Close()
	_, err := Dial(t.Context(), []string{secure.Listener.Addr().String()}, Options{Patience: time.Hour})
	if !errors.Is(err, sharelock.ErrWrongPort) {
		t.Errorf("got %v", err)
	}
}

// The patience is kept against a port that accepts and hangs, with one address and with two.
func TestPatienceWithSilentPort(t *testing.T) {
	for _, addrs := range [][]string{{"a:1"}, {"a:1", "b:1"}} {
		for _, transport := range []Transport{TransportPlain, TransportGRPC} {
			virtual.Test(t, func(t *testing.T) {
				var ends sync.WaitGroup
				begin := time.Now()
				_, err := Dial(clocked(t.Context(), func() time.Duration { return time.Since(begin) }), addrs, Options{
					Patience: time.Second, Transport: transport,
					Dialer: func(context.Context, string) (net.Conn, error) {
						near, far := net.Pipe()
						ends.Go(func() { _, _ = io.Copy(io.Discard, far) })
						return near, nil
					},
				})
				if took := time.Since(begin); !errors.Is(err, ErrUnreachable) || took > time.Second+50*time.Millisecond {
					t.Errorf("%v, transport %d: %v after %v", addrs, transport, err, took)
				}
				if transport == TransportPlain && !strings.Contains(err.Error(), dial.ErrSilent.Error()) {
					t.Errorf("%v: %v", addrs, err)
				}
				ends.Wait()
			})
		}
	}
}

// A port that is the wrong one for a while, of something in front of the nodes say, costs no
// lock that is held: its renewals go on until its deadline.
func TestWrongPortForAWhile(t *testing.T) {
	wrong := sharelockv1.ToStatus(&sharelock.Error{Err: sharelock.ErrWrongPort, Message: "on purpose"}).Err()
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		var is atomic.Bool
		m.setFault(func(call fakeCall) fault {
			if call.Method == "Renew" && is.Load() {
				return fault{before: wrong}
			}
			return fault{}
		})
		l := mustAcquire(t, c, "k", TTL(9*time.Second))
		is.Store(true)
		time.Sleep(4 * time.Second)
		is.Store(false)
		time.Sleep(time.Minute)
		if l.Err() != nil {
			t.Errorf("the lock: %v", l.Err())
		}
	})
}

// Of two addresses one is wrong and a node starts at the other: an acquire waits for the node.
func TestWrongPortBesideAStartingNode(t *testing.T) {
	wrong := sharelockv1.ToStatus(&sharelock.Error{Err: sharelock.ErrWrongPort, Message: "on purpose"}).Err()
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		began := time.Now()
		m.setFault(func(call fakeCall) fault {
			switch {
			case call.Node == "a:1":
				return fault{before: wrong}
			case time.Since(began) < 3*time.Second:
				return fault{before: unavailable()}
			}
			return fault{}
		})
		mustAcquire(t, c, "k")
	})
}
