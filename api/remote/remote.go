package remote

import (
	"context"
	"net"
	"net/netip"

	"google.golang.org/grpc/peer"
)

// connectionKey is the key of a context value: the connection of a call.
type connectionKey struct{}

// connection is a connection with its remote address.
type connection struct {
	net.Conn
	addr net.Addr // cached, because RemoteAddr allocates
}

// With returns a context for the calls that arrive over a connection. It is for servers over HTTP and for
// sessions without gRPC; gRPC does it by itself.
func With(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, &connection{c, c.RemoteAddr()})
}

// Conn returns the connection over which a call arrived, or nil over gRPC.
func Conn(ctx context.Context) net.Conn {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		return c.Conn
	}
	return nil
}

// Addr returns the remote address of the connection over which a call arrived. It is nil if the
// program that runs the node has made the call itself.
func Addr(ctx context.Context) net.Addr {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		return c.addr
	}
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr
	}
	return nil
}

// IP returns the IP address of the other end of a connection, or the zero value if it has none.
func IP(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr()
	}
	if a == nil {
		return netip.Addr{}
	}
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}
