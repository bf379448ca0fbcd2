package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// dialRaw returns a stream on which nothing was sent yet.
func dialRaw(t *testing.T, c *dialed) net.Conn {
	t.Helper()
	conn, err := c.listener.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// A stream that is not a session, or not one that this release supports, is dropped, and no other stream
// is. A client is told that its message is malformed.
func TestFramedRefused(t *testing.T) {
	hello := string(sessionwire.AppendHello(nil))
	why := sessionwire.AppendClosing(nil, statusBytes(status.Error(codes.InvalidArgument, "malformed message")))
	for _, tt := range []struct{ name, bytes, welcome string }{
		{"an unknown version", "SLSN\x02" + hello[5:], ""},
		{"half a hello", hello[:10], ""},
		{"a message that is too large", hello + "\x00\x40\x00\x01", hello[:5]},
		{"a malformed message", hello + "\x00\x00\x00\x02\x0a\xc8", hello[:5] + "\x00\x00\x00" + string(rune(len(why))) + string(why)},
		{"half a message", hello + "\x00\x00\x00\x05\x0a", hello[:5]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				node := newFake()
				c := dialFake(t, node, Options{})
				conn := dialRaw(t, c)
				if _, err := conn.Write([]byte(tt.bytes)); err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(tt.name, "half a message") {
					synctest.Wait()
					_ = conn.Close()
				} else if got, _ := io.ReadAll(conn); string(got) != tt.welcome { //nolint:errcheck // it may be cut off
					t.Errorf("the node said %q, want %q", got, tt.welcome)
				}
				synctest.Wait()
				if n := node.open.Load(); n != 0 {
					t.Errorf("%d sessions are open", n)
				}
				k := openPlain(t, c, t.Context())
				k.send(acquireCall(1, "k", 0))
				if _, err := k.answer(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A silent stream blocks no other stream, and is closed soon.
func TestFramedSilent(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := dialFake(t, newFake(), Options{})
		begin := time.Now()
		silent := dialRaw(t, c)
		if _, err := silent.Write([]byte("SL")); err != nil {
			t.Fatal(err)
		}
		openPlain(t, c, t.Context()).send(acquireCall(1, "k", 0))
		openSession(t, c, t.Context()).send(acquireCall(1, "k", 0))
		synctest.Wait()
		if took := time.Since(begin); took != 0 {
			t.Errorf("others waited %v", took)
		}
		if b, err := io.ReadAll(silent); len(b) > 0 || err != nil {
			t.Errorf("the node said %q, %v", b, err)
		}
		if took := time.Since(begin); took != handshakeTimeout {
			t.Errorf("it was dropped after %v, want %v", took, handshakeTimeout)
		}
	})
}

// Shutdown does not wait for silent streams. It ends sessions, if necessary with calls in flight.
func TestFramedStop(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		node := newFake()
		c := dialFake(t, node, Options{})
		silent, k := dialRaw(t, c), openPlain(t, c, t.Context())
		k.send(acquireCall(1, "k", 0))
		if _, err := k.answer(); err != nil {
			t.Fatal(err)
		}
		k.send(acquireCall(2, "k", time.Minute))
		<-node.waits
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown with a call under way: %v", err)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("Shutdown took %v", took)
		}
		if err := <-node.ends; !errors.Is(err, context.Canceled) {
			t.Errorf("the waiter ended with %v", err)
		}
		if _, err := io.ReadAll(silent); err != nil {
			t.Error(err)
		}
		if n := node.open.Load(); n != 0 {
			t.Errorf("%d sessions are open", n)
		}
		if err := <-c.served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// The session of a client that hangs while its calls are in flight is closed. That of a client that
// sends something, or that has no calls in flight, is not.
func TestFramedHangs(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		node := newFake()
		c := dialFake(t, node, Options{})
		idle, busy, hangs := openPlain(t, c, t.Context()), openPlain(t, c, t.Context()), openPlain(t, c, t.Context())
		idle.send(acquireCall(1, "k", 0))
		if _, err := idle.answer(); err != nil {
			t.Fatal(err)
		}
		for _, k := range []*talk{busy, hangs} {
			k.send(acquireCall(1, "k", time.Minute))
			<-node.waits
		}
		begin := time.Now()
		ended := make(chan struct{})
		defer close(ended)
		go func() {
			for busy.Send(&pb.SessionRequest{Ping: true}) == nil {
				select {
				case <-time.After(5 * time.Second):
				case <-ended:
				}
			}
		}()
		if m, err := hangs.Recv(); err == nil {
			t.Errorf("the client that hangs was told %v", m)
		}
		if took := time.Since(begin); took < hungChecks*hungInterval || took > (hungChecks+1)*hungInterval {
			t.Errorf("it was taken for gone after %v", took)
		}
		if err := <-node.ends; !errors.Is(err, context.Canceled) {
			t.Errorf("its waiter ended with %v", err)
		}
		time.Sleep(30 * time.Second)
		if n := node.open.Load(); n != 2 {
			t.Errorf("%d sessions are open, want 2", n)
		}
		c.server.Stop()
	})
}

// A panic ends one session only.
func TestFramedPanic(t *testing.T) {
	node := newFake()
	c := dialFake(t, node, Options{})
	node.set(func(n *fakeNode) { n.panicking = true })
	k := openPlain(t, c, t.Context())
	if m, err := k.Recv(); err == nil {
		t.Errorf("received %v", m)
	}
	node.set(func(n *fakeNode) { n.panicking = false })
	for _, open := range []open{openSession, openPlain} {
		k = open(t, c, t.Context())
		if err := k.Send(&pb.SessionRequest{Keepalive: panickingKeepalive}); err != nil {
			t.Fatal(err)
		}
		if m, err := k.Recv(); err == nil {
			t.Errorf("received %v", m)
		}
	}
	k = openPlain(t, c, t.Context())
	k.send(acquireCall(1, "k", 0))
	if _, err := k.answer(); err != nil {
		t.Error(err)
	}
}

// A session tells the owners of partitions, once for each message that asks for them.
func TestSessionRing(t *testing.T) { bothWays(t, testSessionRing) }

func testSessionRing(t *testing.T, open open) {
	node := newFake()
	c := dialFake(t, node, Options{})
	k := open(t, c, t.Context())
	ask := func() *pb.GetRingResponse {
		t.Helper()
		if err := k.Send(&pb.SessionRequest{Ring: true}); err != nil {
			t.Fatal(err)
		}
		m, err := k.Recv()
		if err != nil || m.GetRing() == nil {
			t.Fatalf("%v, %v", m, err)
		}
		return m.GetRing()
	}
	want, err := ringOf(node)
	wantProto(t, ask(), want, err)
	node.set(func(n *fakeNode) { n.ready = sharelock.ErrNotReady })
	wantProto(t, ask(), &pb.GetRingResponse{}, nil)
}

// Many long answers are sent in several messages, each of which the reader accepts.
func TestSessionManyAnswers(t *testing.T) {
	s := &session{wake: make(chan struct{}, 1)}
	held := &sharelock.Error{Err: sharelock.ErrLockHeld, Message: strings.Repeat("x", 2000)}
	const answers = 5000 // 10 MB
	for id := range uint64(answers) {
		s.Answer(id, sharelock.Hold{}, held)
	}
	if s.fullBytes+len(s.out) < answers*2000 {
		t.Errorf("%d bytes wait", s.fullBytes+len(s.out))
	}
	var (
		reader sessionwire.ReplyReader
		reply  sessionwire.Reply
		next   uint64
	)
	for data, _ := s.nextMessage(); data != nil; data, _ = s.nextMessage() {
		if len(data) > fullMessage+5000 {
			t.Errorf("a message of %d bytes", len(data))
		}
		reader.Reset(data)
		for {
			more, err := reader.Next(&reply)
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			if reply.ID != next {
				t.Fatalf("answer %d, want %d", reply.ID, next)
			}
			next++
		}
	}
	if next != answers || s.fullBytes != 0 {
		t.Errorf("%d answers, and %d bytes more", next, s.fullBytes)
	}
}

// Serve after Stop serves nothing, closes the listener, and returns no error.
func TestServeAfterStop(t *testing.T) {
	g := NewGRPC(newFake(), Options{})
	g.Stop()
	l := &once{conns: make(chan net.Conn), done: make(chan struct{})}
	if err := g.Serve(l); err != nil {
		t.Error(err)
	}
	select {
	case <-l.done:
	default:
		t.Error("the listener is open")
	}
}

// For any input, the node keeps running and retains nothing of it.
func FuzzFramed(f *testing.F) {
	hello := sessionwire.AppendHello(nil)
	f.Add(append(hello, 0, 0, 0, 2, 16, 1))
	f.Add([]byte("SLSN\x01"))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		node := newFake()
		g := NewGRPC(node, Options{})
		near, far := net.Pipe()
		l := &once{conns: make(chan net.Conn, 1), done: make(chan struct{})}
		l.conns <- far
		served := make(chan error, 1)
		go func() { served <- g.Serve(l) }()
		go io.Copy(io.Discard, near) //nolint:errcheck // it ends with the pipe
		_ = near.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = near.Write(data) // the node may have closed it already
		_ = near.Close()
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if n := node.open.Load(); n != 0 {
			t.Errorf("%d sessions are open", n)
		}
	})
}

// once is a listener of one stream.
type once struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *once) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *once) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

func (l *once) Addr() net.Addr { return &net.TCPAddr{} }

var _ stream = (*frame.Conn)(nil)

// A session above the limit is refused, and told so.
func TestMaxSessions(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := dialFake(t, newFake(), Options{MaxSessions: 2})
		first, second := openPlain(t, c, t.Context()), openSession(t, c, t.Context())
		for i, k := range []*talk{first, second} {
			k.send(acquireCall(1, fmt.Sprint("k", i), 0))
			if _, err := k.answer(); err != nil {
				t.Fatal(err)
			}
		}
		if m, err := openSession(t, c, t.Context()).Recv(); !errors.Is(pb.FromError(err), sharelock.ErrQuota) {
			t.Errorf("a third session, over gRPC: %v, %v", m, err)
		}
		plain := openPlain(t, c, t.Context())
		if m, err := plain.Recv(); !errors.Is(pb.FromError(err), sharelock.ErrQuota) {
			t.Errorf("a third session, plain: %v, %v", m, err)
		}
		if _, err := plain.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("the session that was refused goes on: %v", err)
		}
		c.server.Stop()
	})
}

// from is a listener whose connections come from different hosts.
type from struct {
	net.Listener
	hosts chan string
}

func (l from) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return remoteConn{c, remoteAddr(<-l.hosts)}, nil
}

type remoteConn struct {
	net.Conn
	remote net.Addr
}

func (c remoteConn) RemoteAddr() net.Addr { return c.remote }

type remoteAddr string

func (remoteAddr) Network() string  { return "tcp" }
func (a remoteAddr) String() string { return string(a) }

// When a host has opened all sessions, it loses one to another host, and that session is told so. Other
// hosts keep theirs.
func TestSessionsOfHosts(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		g := NewGRPC(newFake(), Options{MaxSessions: 3})
		listener := bufconn.Listen(1 << 20)
		hosts := make(chan string, 1)
		served := make(chan error, 1)
		go func() { served <- g.Serve(from{listener, hosts}) }()
		open := func(host string) *talk {
			hosts <- host
			k := openPlain(t, &dialed{listener: listener}, t.Context())
			synctest.Wait()
			return k
		}
		work := func(k *talk) error {
			if err := k.Send(&pb.SessionRequest{Calls: []*pb.SessionCall{acquireCall(1, "k", 0)}}); err != nil {
				return err
			}
			_, err := k.Recv()
			return err
		}
		stranger := []*talk{open("10.0.0.1:1"), open("10.0.0.1:2"), open("10.0.0.1:3")}
		if err := work(open("10.0.0.1:4")); !errors.Is(pb.FromError(err), sharelock.ErrQuota) {
			t.Errorf("a session too many of one host: %v", err)
		}
		honest := open("[2001:db8::1]:1")
		if _, err := stranger[2].Recv(); !errors.Is(pb.FromError(err), sharelock.ErrQuota) {
			t.Errorf("the newest session of the host with the most ended with %v", err)
		}
		for i, k := range []*talk{stranger[0], stranger[1], honest} {
			if err := work(k); err != nil {
				t.Errorf("session %d: %v", i, err)
			}
		}
		if err := work(open("[2001:db8::2]:1")); !errors.Is(pb.FromError(err), sharelock.ErrQuota) {
			t.Errorf("another address of a host that has its share: %v", err)
		}
		g.Stop()
		<-served
	})
}
