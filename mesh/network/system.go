package network

import (
	"context"
	"net"
	"time"

	"github.com/sgkandale/sharelock/internal/netconn"
)

// System is the operating system's network. The zero value is ready to
// use.
type System struct{}

var _ Network = System{}

// keepAlive finds streams whose other end is gone without a word.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 3 * time.Second, Count: 3}
}

// unackedTime is how long a stream between members goes on without an acknowledgement of
// what it has sent. Without it the kernel repeats what was sent for a quarter of an hour,
// also after the stream was closed, and it would arrive when request ids are forgotten: no
// message lives longer than 30 s (Q1).
const unackedTime = 20 * time.Second

// LimitUnacked sets unackedTime for a stream of the system's network.
func LimitUnacked(conn net.Conn) { LimitUnackedTo(conn, unackedTime) }

// LimitUnackedTo sets another time, which is shorter.
func LimitUnackedTo(conn net.Conn, d time.Duration) {
	if c := netconn.TCP(conn); c != nil {
		setUserTimeout(c, d)
	}
}

// ResetOnClose makes closing a stream discard what it has not sent yet and reset it: what a
// stream carries is sent again on the next one, and must not arrive after that (Q1).
func ResetOnClose(conn net.Conn) {
	if c := netconn.TCP(conn); c != nil {
		_ = c.SetLinger(0) // of a stream that is open; otherwise it does not matter
	}
}

// Listen opens a TCP listener. Streams have keepalive on, and Nagle's delay off
// as always in Go.
func (System) Listen(addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive()}
	return lc.Listen(context.Background(), "tcp", addr)
}

// ListenPacket opens a UDP socket.
func (System) ListenPacket(addr string) (net.PacketConn, error) {
	var lc net.ListenConfig
	return lc.ListenPacket(context.Background(), "udp", addr)
}

// Dial opens a TCP stream.
func (System) Dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive()}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err == nil {
		LimitUnacked(conn)
	}
	return conn, err
}

// LookupHost asks the system's resolver.
func (System) LookupHost(ctx context.Context, host string) ([]string, error) {
	return net.DefaultResolver.LookupHost(ctx, host)
}
