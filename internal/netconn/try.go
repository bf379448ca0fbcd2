package netconn

import (
	"crypto/tls"
	"net"
)

// A TryWriter is a connection that can write without blocking.
type TryWriter interface {
	// TryWrite writes what the connection accepts at once, and returns the number of these bytes. It
	// returns no error: the next Write does. It must not be called concurrently with Write or with
	// itself.
	TryWrite(b []byte) int
}

// Try returns the TryWriter that writes to the stream of a connection. It returns nil if there is
// none: with TLS, or on a system where it is not implemented.
func Try(conn net.Conn) TryWriter {
	for {
		switch c := conn.(type) {
		case interface{ ConnectionState() tls.ConnectionState }:
			return nil
		case TryWriter:
			return c
		case *net.TCPConn:
			return tryTCP(c)
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}
