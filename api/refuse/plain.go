package refuse

import (
	"fmt"
	"io"
	"net"

	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// Plain answers a connection without TLS at a port that needs TLS, in the protocol that it
// speaks: a session, gRPC, or else HTTP. The caller has set a deadline and closes the connection.
// The error is a *[sharelock.Error].
func Plain(conn net.Conn, needsTLS error) {
	head := make([]byte, len(sessionwire.SessionMagic))
	if _, err := io.ReadFull(conn, head); err != nil {
		return
	}
	defer drain(conn)
	switch string(head) {
	case sessionwire.SessionMagic:
		_ = Session(conn, needsTLS) // it is closed anyway
	case http2Preface[:len(head)]:
		_ = refuseHTTP2(conn, len(head), needsTLS) // likewise
	default:
		text := textOf(needsTLS) + "\n"
		_, _ = fmt.Fprintf(conn, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
	}
}

// TLS answers a client that begins with TLS at a port without TLS: an answer that is not TLS shows that.
func TLS(conn net.Conn) {
	_, _ = io.WriteString(conn, "HTTP/1.0 400 Bad Request\r\n\r\nThis port has no TLS.\n") // it is closed anyway
}

// recordHandshake is the first byte of TLS.
const recordHandshake = 0x16

// BeginsTLS reports whether a connection that begins with head, which is not empty, begins with TLS.
func BeginsTLS(head []byte) bool { return head[0] == recordHandshake }
