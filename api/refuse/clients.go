package refuse

import (
	"fmt"
	"net"
	"time"

	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// tlsPatience bounds the TLS handshake with a client that is refused.
const tlsPatience = 3 * time.Second

// Clients is Sessions for a port that serves no clients. A connection that begins as HTTP of any version
// (gRPC included) or as TLS is also answered with the error. secure does the TLS handshake; if it is nil, a
// client with TLS is told that the port has no TLS. No gossip stream begins like one of these.
func Clients(l net.Listener, wrong error, secure func(net.Conn) (net.Conn, error)) net.Listener {
	return refusingListener{l, refused{
		begins: append(http1Magics(), sessionwire.SessionMagic, http2Magic), tls: true,
		answer: func(conn net.Conn, head []byte) error {
			replayed := frame.Replay(conn, head)
			if BeginsTLS(head) {
				return overTLS(replayed, wrong, secure)
			}
			if err := conn.SetDeadline(time.Now().Add(Patience)); err != nil {
				return err
			}
			Plain(replayed, wrong)
			return nil
		},
	}}
}

// http2Magic is the beginning of every HTTP/2 stream, as long as SessionMagic.
var http2Magic = http2Preface[:len(sessionwire.SessionMagic)]

// http1Magics returns the beginnings of HTTP/1 requests, as long as SessionMagic.
func http1Magics() []string { return []string{"GET ", "HEAD", "POST", "PUT ", "PATC", "DELE", "OPTI"} }

// overTLS answers a client with TLS.
func overTLS(conn net.Conn, wrong error, secure func(net.Conn) (net.Conn, error)) error {
	if err := conn.SetDeadline(time.Now().Add(tlsPatience)); err != nil {
		return err
	}
	if secure == nil {
		// Answer in plain text with the reason, as servers without TLS do.
		_, err := fmt.Fprintf(conn, "HTTP/1.0 400 Bad Request\r\n\r\nThis port has no TLS: %s.\n", textOf(wrong))
		drain(conn)
		return err
	}
	secured, err := secure(conn)
	if err != nil {
		return err
	}
	Plain(secured, wrong)
	return secured.Close()
}
