package api

import (
	"context"
	"net"

	"google.golang.org/grpc/peer"
)

// Remote is implemented by a [Sink] that knows the remote address of its session's connection.
type Remote interface {
	RemoteAddr() net.Addr
}

// connectionKey is the key of a context value: the connection of a call.
type connectionKey struct{}

// connection is a connection with its remote address.
type connection struct {
	net.Conn
	remote net.Addr // cached, because RemoteAddr allocates
}

// withRemote returns a context for the calls that arrive over a connection.
func withRemote(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, &connection{c, c.RemoteAddr()})
}

// connOf returns the connection over which an HTTP call arrived, or nil.
func connOf(ctx context.Context) net.Conn {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		return c.Conn
	}
	return nil
}

// RemoteOf returns the remote address of the connection over which a call arrived. It is nil if the
// program that runs the node has made the call itself.
func RemoteOf(ctx context.Context) net.Addr {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		return c.remote
	}
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr
	}
	return nil
}
