package api

import (
	"net"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// The system monitors the streams of sessions: it breaks one whose other end is silent, whether or not
// something was sent to it. It breaks a gRPC stream only if something was sent to it; gRPC itself pings
// the others.
func TestStreamsAreWatchedOver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := &keptConns{Listener: l, conns: make(chan *net.TCPConn, 1)}
	g := NewGRPC(newFake(), Options{})
	served := make(chan error, 1)
	go func() { served <- g.Serve(accepted) }()
	defer func() {
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	check := func(what string, conn *net.TCPConn, alive int) {
		t.Helper()
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []struct {
			name                string
			level, option, want int
		}{
			{"TCP_USER_TIMEOUT", syscall.IPPROTO_TCP, tcpUserTimeout, int(keepaliveTimeout.Milliseconds())},
			{"SO_KEEPALIVE", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
			{"TCP_KEEPIDLE", syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, alive},
		} {
			if o.want == 0 {
				continue // set by Go for every listener
			}
			var got int
			var serr error
			if err := raw.Control(func(fd uintptr) { got, serr = syscall.GetsockoptInt(int(fd), o.level, o.option) }); err != nil || serr != nil {
				t.Fatal(err, serr)
			}
			if got != o.want {
				t.Errorf("%s: %s is %d, want %d", what, o.name, got, o.want)
			}
		}
	}

	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(sessionwire.AppendHello(nil)); err != nil {
		t.Fatal(err)
	}
	if err := sessionwire.ReadWelcome(conn); err != nil {
		t.Fatal(err)
	}
	// After the answer to a call it is certainly a session.
	k := &talk{t: t, talker: &plainTalk{frame.New(conn, sessionwire.MaxSessionFrame, time.Hour), conn}}
	k.send(acquireCall(1, "k", 0))
	if _, err := k.answer(); err != nil {
		t.Fatal(err)
	}
	check("a session", <-accepted.conns, int(keepaliveInterval.Seconds()))

	c, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := pb.NewLockServiceClient(c).Get(t.Context(), &pb.GetRequest{Key: "k"}); err != nil {
		t.Fatal(err)
	}
	check("gRPC", <-accepted.conns, 0)
}

// keptConns is a listener that keeps the connections that it accepts.
type keptConns struct {
	net.Listener
	conns chan *net.TCPConn
}

// Accept implements net.Listener.
func (l *keptConns) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.conns <- c.(*net.TCPConn)
	}
	return c, err
}
