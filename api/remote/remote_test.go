package remote

import (
	"net"
	"testing"

	"google.golang.org/grpc/peer"
)

// from is a connection from an address.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

func TestRemote(t *testing.T) {
	a, b := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 2}
	ctx := t.Context()
	if Conn(ctx) != nil || Addr(ctx) != nil {
		t.Errorf("a call of the program itself: connection %v, address %v", Conn(ctx), Addr(ctx))
	}
	overGRPC := peer.NewContext(ctx, &peer.Peer{Addr: a})
	if Conn(overGRPC) != nil || Addr(overGRPC) != a {
		t.Errorf("a call over gRPC: connection %v, address %v, want %v", Conn(overGRPC), Addr(overGRPC), a)
	}
	conn := from{addr: b}
	if overHTTP := With(overGRPC, conn); Conn(overHTTP) != conn || Addr(overHTTP) != b {
		t.Errorf("a call over HTTP: connection %v, address %v, want %v", Conn(overHTTP), Addr(overHTTP), b)
	}
}

func TestIP(t *testing.T) {
	for _, tt := range []struct {
		addr net.Addr
		want string // "" for none
	}{
		{&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1).To4(), Port: 1}, "10.0.0.1"},
		{&net.UDPAddr{IP: net.IPv6loopback, Port: 1}, "::1"},
		{&net.UnixAddr{Name: "/run/a", Net: "unix"}, ""},
		{nil, ""},
	} {
		got := IP(tt.addr)
		if got.IsValid() != (tt.want != "") || tt.want != "" && got.String() != tt.want {
			t.Errorf("%v: %v, want %q", tt.addr, got, tt.want)
		}
	}
}
