package mesh

import (
	"context"
	"net"
	"time"
)

// Network is the seam through which all traffic of a node goes: the system's
// network by default, a memory network in tests. Addresses are host:port.
type Network interface {
	// Listen opens a stream listener; port 0 is chosen by the network.
	Listen(addr string) (net.Listener, error)
	// ListenPacket opens a datagram socket.
	ListenPacket(addr string) (net.PacketConn, error)
	// Dial opens a stream to addr.
	Dial(ctx context.Context, addr string) (net.Conn, error)
	// LookupHost gives the IP addresses of a host name or address.
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// Clock gives the time since an arbitrary start. It must not jump and should
// count the time that the machine was suspended (protocol, assumptions).
type Clock func() time.Duration
