// Package connlimit bounds the connections of clients at a node.
//
// The bound is shared by the ports of the node, and among hosts, see package share.
package connlimit

import (
	"log/slog"
	"net"

	"github.com/sgkandale/sharelock/internal/seldom"
	"github.com/sgkandale/sharelock/internal/share"
)

// Limit is the bound of a node. Make it with [New]. Its methods are safe for concurrent use.
type Limit struct {
	places *share.Places
	log    *slog.Logger
	full   seldom.Log
}

// New returns a bound of that many connections; 0 is no bound.
func New(most int, log *slog.Logger) *Limit { return &Limit{places: share.New(most), log: log} }

// Listener returns a listener of the connections of l that are within the bound. The others are closed.
func (l *Limit) Listener(inner net.Listener) net.Listener {
	if l.places.Most() == 0 {
		return inner
	}
	return &listener{Listener: inner, limit: l}
}

// Open returns the number of connections.
func (l *Limit) Open() int { return l.places.Taken() }

type listener struct {
	net.Listener
	limit *Limit
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.limit.enter(inner); c != nil {
			return c, nil
		}
		_ = inner.Close()
	}
}

// conn is a connection that is counted until it is closed.
type conn struct {
	net.Conn
	place *share.Place
}

// enter counts a connection, or returns nil if there is no room for it.
func (l *Limit) enter(inner net.Conn) *conn {
	host := share.Host(inner.RemoteAddr())
	place, displaced, ok := l.places.Take(host, func() { _ = inner.Close() })
	if (displaced || !ok) && l.full.Allow(host) {
		l.log.Warn("the node has as many connections as limits.max_connections allows", "limit", l.places.Most(), "remote", inner.RemoteAddr().String(), "refused", !ok)
	}
	if !ok {
		return nil
	}
	return &conn{Conn: inner, place: place}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.place.Leave()
	return c.Conn.Close()
}

// NetConn returns the connection below, like the method of crypto/tls.Conn.
func (c *conn) NetConn() net.Conn { return c.Conn }
