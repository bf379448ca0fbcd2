package nodetls

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
)

// recordHandshake is the first byte of a TLS stream. No protocol of a node begins with it.
const recordHandshake = 0x16

// ErrPlain: a stream does not begin with TLS.
var ErrPlain = errors.New("not TLS")

// Server does the TLS handshakes of the streams that arrive at one kind of port.
type Server struct {
	store  *Store
	config func(*Set) *tls.Config
	// plain accepts streams without TLS.
	plain bool
	// direct makes closing a stream close the connection below at once.
	direct bool
}

// Members returns the server of the peer port. With migrate it takes streams without TLS as well.
func (s *Store) Members(migrate bool) *Server {
	return &Server{store: s, config: func(set *Set) *tls.Config { return set.memberServer }, plain: migrate, direct: true}
}

// HTTP returns the server of the HTTP port, for a mode other than ClientsOff. Its streams are of
// type [*tls.Conn], or as they came if they have no TLS.
func (s *Store) HTTP(mode Clients) *Server { return s.clientServer(mode, true) }

// GRPC returns the server of the gRPC port, for a mode other than ClientsOff.
func (s *Store) GRPC(mode Clients) *Server { return s.clientServer(mode, false) }

// Refusals returns the server for clients at a port that serves no clients. They get that answer in the
// protocol that they use, and need no certificate. See refuse.Clients.
func (s *Store) Refusals() *Server {
	return &Server{store: s, config: func(set *Set) *tls.Config { return set.refusals }, direct: true}
}

func (s *Store) clientServer(mode Clients, http bool) *Server {
	port := clientPort{http: http, mutual: mode == ClientsMutual}
	return &Server{store: s, config: func(set *Set) *tls.Config { return set.clients[port] }, plain: mode == ClientsMigrate, direct: !http}
}

// Handshake does the TLS handshake of an incoming stream, within the deadline of the stream. The result
// is a stream with a method ConnectionState; or without, if the stream has no TLS and the server accepts
// that. If the server does not accept it, the error wraps ErrPlain, and the result is the stream, so that
// the caller can send an answer to its other end. The caller closes conn after an error.
func (s *Server) Handshake(conn net.Conn) (net.Conn, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		return nil, err
	}
	below := &socket{Conn: conn, head: first, conns: &s.store.conns}
	if first[0] != recordHandshake {
		if s.plain {
			return below, nil
		}
		return below, ErrPlain
	}
	c := tls.Server(below, s.config(s.store.Current()))
	if err := c.Handshake(); err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	s.store.conns.add(below, c.ConnectionState().PeerCertificates, s.store.Current, s.store.cfg.Log)
	if s.direct {
		return &Conn{Conn: c, below: below}, nil
	}
	return c, nil
}

// Conn is a TLS stream. Close never blocks: it closes the connection below without sending TLS's
// close_notify, which would block on a peer that does not read. The protocols above frame their messages,
// so that a truncated stream cannot be taken for a complete message.
type Conn struct {
	*tls.Conn
	below *socket
}

// Close implements net.Conn.
func (c *Conn) Close() error { return c.below.Close() }
