package api

import (
	"context"
	"net"

	"google.golang.org/grpc/peer"
)

// Remote is a [Sink] that knows the other end of the connection that its session is on.
type Remote interface {
	RemoteAddr() net.Addr
}

// connectionKey is the key of a context's value that is the connection of its calls.
type connectionKey struct{}

// connection is a connection over which calls come.
type connection struct {
	net.Conn
	remote net.Addr // so that it is made once
}

// withRemote returns a context of calls that come over a connection.
func withRemote(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, &connection{c, c.RemoteAddr()})
}

// connOf returns the connection over which a call of HTTP came, or nil.
func connOf(ctx context.Context) net.Conn {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		return c.Conn
	}
	return nil
}

// RemoteOf returns the other end of the connection over which a call came, or nil if it
// did not come over any: the program that runs the node has made it.
func RemoteOf(ctx context.Context) net.Addr {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		return c.remote
	}
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr
	}
	return nil
}
