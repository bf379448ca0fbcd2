package api

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// tcpOf returns the TCP connection below another one, or nil.
func tcpOf(conn net.Conn) *net.TCPConn {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// TLSOf returns the state of a connection that has TLS, also below other layers; ok is false if it
// has none.
func TLSOf(conn net.Conn) (state tls.ConnectionState, ok bool) {
	for {
		switch c := conn.(type) {
		case interface{ ConnectionState() tls.ConnectionState }:
			return c.ConnectionState(), true
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return state, false
		}
	}
}

// accepting are the credentials of a gRPC server whose connections have got their TLS before: the
// handshake comes before the port's protocols are told apart. Handlers find credentials.TLSInfo in
// peer.Peer.AuthInfo.
type accepting struct {
	credentials.TransportCredentials // of a connection without TLS
}

func newAccepting() credentials.TransportCredentials { return accepting{insecure.NewCredentials()} }

// ServerHandshake implements credentials.TransportCredentials.
func (a accepting) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	state, ok := TLSOf(conn)
	if !ok {
		return a.TransportCredentials.ServerHandshake(conn)
	}
	return conn, credentials.TLSInfo{
		State: state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// Clone implements credentials.TransportCredentials.
func (a accepting) Clone() credentials.TransportCredentials {
	return accepting{a.TransportCredentials.Clone()}
}

// RefusePlain answers a connection without TLS at a port that needs TLS, in the protocol that it
// speaks: a session, gRPC, or else HTTP. The caller has set a deadline and closes the connection.
// The error is a *[sharelock.Error].
func RefusePlain(conn net.Conn, needsTLS error) {
	head := make([]byte, len(sessionwire.SessionMagic))
	if _, err := io.ReadFull(conn, head); err != nil {
		return
	}
	defer drain(conn)
	switch string(head) {
	case sessionwire.SessionMagic:
		_ = RefuseSession(conn, needsTLS) // it is closed anyway
	case http2Preface[:len(head)]:
		_ = refuseHTTP2(conn, len(head), needsTLS) // likewise
	default:
		text := textOf(needsTLS) + "\n"
		_, _ = fmt.Fprintf(conn, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
	}
}

// maxDrained bounds what is read of a connection that was refused, in bytes.
const maxDrained = 64 << 10

// drain reads what the other end still sends, for refuseTime at most, until it has seen the answer
// and closes the connection: closing a connection with unread data resets it, and then the answer may
// be lost.
func drain(conn net.Conn) {
	if conn.SetDeadline(time.Now().Add(refuseTime)) == nil {
		if tcp := tcpOf(conn); tcp != nil {
			_ = tcp.CloseWrite() // it ends sooner for most clients
		}
		_, _ = io.CopyN(io.Discard, conn, maxDrained)
	}
}

// refuseTLS answers a client that begins with TLS at a port without TLS: whatever is no TLS tells
// it so.
func refuseTLS(conn net.Conn) {
	_, _ = io.WriteString(conn, "HTTP/1.0 400 Bad Request\r\n\r\nThis port has no TLS.\n") // it is closed anyway
}

// recordHandshake is the first byte of TLS.
const recordHandshake = 0x16

// sessionsOverTLS makes an HTTP server answer plain sessions that are opened at its port over TLS,
// by the name of their protocol in ALPN.
func sessionsOverTLS(server *http.Server, wrong error) {
	server.Protocols.SetHTTP2(true)
	server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		sessionwire.Protocol: func(_ *http.Server, conn *tls.Conn, _ http.Handler) {
			head := make([]byte, len(sessionwire.SessionMagic))
			if _, err := io.ReadFull(conn, head); err == nil && string(head) == sessionwire.SessionMagic {
				_ = RefuseSession(conn, wrong) // the server closes it
			}
		},
	}
}
