package client

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/fakenode"
	"github.com/sgkandale/sharelock/client/internal/session"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// A Dialer that does not end with its context is not waited for, and what it opens too late
// is closed.
func TestDialerIgnoresItsContext(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		started := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := Dial(ctx, []string{"a:1"}, Options{Dialer: func(context.Context, string) (net.Conn, error) {
			time.Sleep(time.Minute)
			return near, nil
		}})
		if took := time.Since(started); err == nil || took > 4*time.Second {
			t.Errorf("Dial took %v: %v", took, err)
		}
		_ = far.SetReadDeadline(time.Now().Add(2 * time.Minute))
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the connection that came too late: %v, want it closed", err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
	})
}

// What cannot be is refused by Dial, with an error that names it.
func TestDialRefuses(t *testing.T) {
	for field, dial := range map[string]func() (*Client, error){
		"addrs":     func() (*Client, error) { return Dial(t.Context(), nil, Options{}) },
		"Patience":  func() (*Client, error) { return Dial(t.Context(), []string{"a:1"}, Options{Patience: -1}) },
		"client_id": func() (*Client, error) { return Dial(t.Context(), []string{"a:1"}, Options{ClientID: "a\x00b"}) },
	} {
		_, err := dial()
		if e, ok := errors.AsType[*sharelock.Error](err); !ok || !errors.Is(err, sharelock.ErrInvalidArgument) || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// A nil Option changes nothing.
func TestNilOption(t *testing.T) {
	bubble(t, func(t *testing.T, _ *fakeMesh, c *Client) {
		mustAcquire(t, c, "k", nil, TTL(time.Second), nil)
	})
}

// resetting is a connection that a front resets when it does not like what it reads.
type resetting struct{ net.Conn }

// Read implements net.Conn.
func (resetting) Read([]byte) (int, error) {
	return 0, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
}

// A front that closes or resets whatever is no HTTP/2 is told apart, also the second time
// that a client finds it out.
func TestFrontClosesPlainStreams(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"FIN": func(c net.Conn) net.Conn { return c },
		"RST": func(c net.Conn) net.Conn { return resetting{c} },
	} {
		t.Run(name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				m, _, stop := newMesh("a:1")
				defer stop()
				m.set(func() { m.sessions = true })
				f := &fakenode.Node{Behind: m.dial, First: func(int64, net.Conn) bool { return false }}
				begin := time.Now()
				c, err := Dial(clocked(t.Context(), func() time.Duration { return time.Since(begin) }), []string{"a:1"}, Options{
					Transport: TransportPlain,
					Dialer: func(ctx context.Context, addr string) (net.Conn, error) {
						conn, err := f.Dial(ctx, addr)
						if err == nil && f.Others.Load() == 0 && f.Plain.Load() < session.MaxEnds {
							conn = wrap(conn)
						}
						return conn, err
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close() //nolint:errcheck // nothing is left
				pair(t, c)
				time.Sleep(session.Relearn + time.Second)
				m.set(func() { m.broken = unavailable() }) // its stream ends, and it is tried again
				for range 5 {
					_, _ = c.Get(t.Context(), "k")
					if l, err := c.Acquire(t.Context(), "other"); err == nil {
						_ = l.Release(t.Context())
					}
					time.Sleep(time.Second)
				}
				pair(t, c)
				if !c.nodes[0].session.GRPCOnly() {
					t.Error("the front is not told apart once more")
				}
			})
		})
	}
}

// Calls fall back to, and learn the ring from, every node that the mesh has named, when the
// address that was given cannot be reached; nodes that have left are forgotten.
func TestGivenAddressIsLost(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		m, opts := startMesh(t, "a:1", "b:1", "c:1")
		m.set(func() { m.sessions, m.ring = true, testRing(1, "a:1", "b:1", "c:1") })
		begin := time.Now()
		c, err := Dial(clocked(t.Context(), func() time.Duration { return time.Since(begin) }), []string{"a:1"}, Options{DialOptions: opts})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // nothing is left
		mustAcquire(t, c, "first")
		synctest.Wait()
		l := mustAcquire(t, c, "k", TTL(6*time.Second))
		m.setFault(func(c fakeCall) fault {
			if c.Node == "a:1" {
				return fault{before: unavailable()}
			}
			return fault{}
		})
		m.set(func() { m.muted = "a:1" })
		for i := range 20 {
			if _, err := c.Acquire(t.Context(), "k"+string(rune('a'+i)), NoRenew()); err != nil {
				t.Errorf("acquire %d: %v", i, err)
			}
			time.Sleep(time.Second)
		}
		if err := l.Err(); err != nil {
			t.Errorf("the lock: %v", err)
		}
		// c leaves.
		m.set(func() {
			m.muted = ""
			m.ring = testRing(2, "a:1", "b:1")
			m.ring.Owners = []uint32{0, 1, 1}
		})
		m.setFault(nil)
		time.Sleep(time.Minute)
		c.owners.learn()
		time.Sleep(time.Second)
		for _, n := range c.owners.all() {
			if n.addr == "c:1" {
				t.Error("the node that has left is not forgotten")
			}
		}
	})
}

// A front that speaks gRPC and whose nodes hang does not hold up Dial: it tries another address. Without
// another address it fails with ErrUnreachable within the patience.
func TestFrontHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		<-s.Context().Done()
		return s.Context().Err()
	}))
	var serving sync.WaitGroup
	serving.Go(func() { _ = front.Serve(l) })
	defer serving.Wait()
	defer front.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, transport := range []Transport{0, TransportGRPC} {
		_, err := Dial(ctx, []string{l.Addr().String()}, Options{Patience: 500 * time.Millisecond, Transport: transport})
		if !errors.Is(err, ErrUnreachable) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("transport %d: %v", transport, err)
		}
	}
}
