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

// remoteKey is the key of a context's value that is the other end of a connection.
type remoteKey struct{}

// withRemote returns a context of calls that come over a connection.
func withRemote(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, remoteKey{}, c.RemoteAddr())
}

// RemoteOf returns the other end of the connection over which a call came, or nil if it
// did not come over any: the program that runs the node has made it.
func RemoteOf(ctx context.Context) net.Addr {
	if addr, ok := ctx.Value(remoteKey{}).(net.Addr); ok {
		return addr
	}
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr
	}
	return nil
}
