package session

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/test/bufconn"
)

// refuse is a gRPC server that shuts down just as a client has sent something on a stream:
// it has not begun with it, and says so.
func refuse(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // it is over
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(conn, conn)
	if f.WriteSettings() != nil {
		return
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() && f.WriteSettingsAck() != nil {
				return
			}
		case *http2.DataFrame:
			_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
			return
		}
	}
}

// A session that a node refuses, since it shuts down, has ended: gRPC would open it once
// more by itself, and while it waits for a connection to do so, neither end of the session
// gets on.
func TestRefusedSession(t *testing.T) {
	l := bufconn.Listen(1 << 16)
	defer l.Close() //nolint:errcheck // it is over
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			refuse(conn)
		}
	}()
	var dials atomic.Int32
	s := start(t, nil, func(c *Config) {
		c.GRPC = true
		c.Conn = connect(t, func(ctx context.Context, _ string) (net.Conn, error) {
			dials.Add(1)
			return l.DialContext(ctx)
		})
	})
	f, _, err := s.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Send([]byte("\x10\x01")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Recv(); err == nil {
		t.Error("something was received")
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("the node was dialled %d times", n)
	}
}
