package client

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/fakenode"
	"github.com/sgkandale/sharelock/client/internal/session"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func dialWire(t *testing.T, f *fakenode.Node, o Options) (*Client, error) {
	t.Helper()
	return dialHooked(t, f, o, clienthook.Hooks{})
}

func dialHooked(t *testing.T, f *fakenode.Node, o Options, hooks clienthook.Hooks) (*Client, error) {
	t.Helper()
	begin := time.Now()
	o.Dialer, hooks.Clock = f.Dial, func() time.Duration { return time.Since(begin) }
	c, err := Dial(clienthook.With(t.Context(), hooks), []string{"a:1"}, o)
	if err == nil {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return c, err
}

// pair takes a lock and gives it back.
func pair(t *testing.T, c *Client) {
	t.Helper()
	l, err := c.Acquire(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// A node that speaks plainly is never called by gRPC: neither to see that it is there
// nor to learn who owns what.
func TestPlain(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &fakenode.Node{}
		c, err := dialWire(t, f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		pair(t, c)
		time.Sleep(time.Second)
		if f.Dials.Load() != 1 || f.Others.Load() != 0 {
			t.Errorf("%d streams, %d of them gRPC's", f.Dials.Load(), f.Others.Load())
		}
		if f.RingAsked.Load() == 0 {
			t.Error("it was not asked who owns what")
		}
	})
}

// A node that knows gRPC alone is called so, and told apart once.
func TestPlainUnknown(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		m, _ := startMesh(t, "a:1")
		m.set(func() { m.sessions = true })
		f := &fakenode.Node{Behind: m.dial, First: func(_ int64, conn net.Conn) bool {
			_, _ = conn.Write([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00")) // HTTP/2's settings
			return false
		}}
		c, err := dialWire(t, f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		pair(t, c)
		c.nodes[0].session.Reset() // another stream is opened
		synctest.Wait()
		pair(t, c)
		if n := f.Plain.Load(); n != 1 {
			t.Errorf("%d plain streams were tried, want 1", n)
		}
	})
}

// A node that just goes down is not taken for one that knows gRPC alone; where streams
// always end something stands before it that does not know what they are. Either is tried
// again later.
func TestPlainGoingDown(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var from atomic.Int64
		from.Store(session.MaxEnds)
		m, _ := startMesh(t, "a:1")
		m.set(func() { m.sessions = true })
		f := &fakenode.Node{Behind: m.dial, First: func(n int64, _ net.Conn) bool { return n >= from.Load() }}
		c, err := dialWire(t, f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		pair(t, c)
		s := c.nodes[0].session
		if s.GRPCOnly() || f.Plain.Load() != session.MaxEnds {
			t.Errorf("after %d plain streams gRPC alone is used: %v", f.Plain.Load(), s.GRPCOnly())
		}
		from.Store(2*session.MaxEnds + 1)
		s.Reset()
		synctest.Wait()
		pair(t, c)
		if !s.GRPCOnly() || f.Plain.Load() != 2*session.MaxEnds {
			t.Errorf("after %d plain streams gRPC alone is used: %v", f.Plain.Load(), s.GRPCOnly())
		}
		time.Sleep(session.Relearn)
		s.Reset()
		synctest.Wait()
		pair(t, c)
		if s.GRPCOnly() || f.Plain.Load() != 2*session.MaxEnds+1 {
			t.Errorf("after %d plain streams, the last a good one, gRPC alone is used: %v", f.Plain.Load(), s.GRPCOnly())
		}
	})
}

// A node that takes a stream and says nothing costs an attempt as long as a connection
// may take, no longer.
func TestPlainMute(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &fakenode.Node{First: func(_ int64, conn net.Conn) bool {
			_, _ = io.Copy(io.Discard, conn)
			return false
		}}
		begin := time.Now()
		_, err := dialWire(t, f, Options{Retry: Retry{Attempts: 1}})
		if took := time.Since(begin); !errors.Is(err, ErrUnreachable) || took != longestConnect {
			t.Errorf("%v after %v, want it unreachable after %v", err, took, longestConnect)
		}
		if n := f.Others.Load(); n != 2 {
			t.Errorf("%d streams that are no session, want 2 that look what it speaks", n)
		}
	})
}

// What is chosen decides, and DialOptions do if nothing is.
func TestTransport(t *testing.T) {
	for _, tt := range []struct {
		name      string
		transport Transport
		options   bool
		plain     bool
	}{
		{"by default", 0, false, true},
		{"with DialOptions", 0, true, false},
		{"gRPC", TransportGRPC, false, false},
		{"plain with DialOptions", TransportPlain, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				m, opts := startMesh(t, "a:1")
				m.set(func() { m.sessions = true })
				f := &fakenode.Node{Behind: m.dial}
				o := Options{Transport: tt.transport}
				if tt.options {
					o.DialOptions = opts
				}
				c, err := dialWire(t, f, o)
				if err != nil {
					t.Fatal(err)
				}
				pair(t, c)
				if got := f.Plain.Load() > 0; got != tt.plain {
					t.Errorf("plain: %v, want %v", got, tt.plain)
				}
			})
		})
	}
	_, err := Dial(t.Context(), []string{"a:1"}, Options{Transport: 3, Retry: Retry{Attempts: -1}})
	if !errors.Is(err, sharelock.ErrInvalidArgument) || !strings.Contains(err.Error(), "Transport") || !strings.Contains(err.Error(), "Retry.Attempts") {
		t.Errorf("two bad options: %v", err)
	}
}

// farewells are streams that the node ends, with a reason, once it has one.
type farewells struct {
	clienthook.Frames
	why *atomic.Pointer[status.Status]
}

// Recv implements clienthook.Frames.
func (f farewells) Recv() ([]byte, error) {
	m, err := f.Frames.Recv()
	if why := f.why.Swap(nil); why != nil && err == nil {
		m, err = proto.Marshal(why.Proto())
		m = sessionwire.AppendClosing(nil, m)
	}
	return m, err
}

// What is held goes on elsewhere when a node ends the session, whatever its reason.
func TestSessionEndedByNode(t *testing.T) {
	for _, code := range []codes.Code{codes.PermissionDenied, codes.ResourceExhausted, codes.Unavailable} {
		virtual.Test(t, func(t *testing.T) {
			var why atomic.Pointer[status.Status]
			m, opts := startMesh(t, "a:1")
			m.set(func() { m.sessions = true })
			begin := time.Now()
			c, err := Dial(clienthook.With(t.Context(), clienthook.Hooks{
				Clock:    func() time.Duration { return time.Since(begin) },
				Sessions: func(_ string, f clienthook.Frames) clienthook.Frames { return farewells{f, &why} },
			}), []string{"a:1"}, Options{DialOptions: opts})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close() //nolint:errcheck // it is over
			l := mustAcquire(t, c, "k", TTL(time.Minute))
			why.Store(status.New(code, "on purpose"))
			time.Sleep(30 * time.Second) // an answer to a ping ends the stream
			if why.Load() != nil {
				t.Errorf("%v: the stream goes on", code)
			}
			time.Sleep(time.Hour)
			if l.Err() != nil {
				t.Errorf("%v: the lock was lost: %v", code, l.Err())
			}
		})
	}
}
