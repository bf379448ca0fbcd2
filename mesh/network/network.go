package network

import (
	"context"
	"errors"
	"net"
	"time"
)

// Network is what all traffic of a node goes through. Addresses are host:port.
type Network interface {
	// Listen opens a stream listener; port 0 is chosen by the network.
	Listen(addr string) (net.Listener, error)
	// ListenPacket opens a datagram socket.
	ListenPacket(addr string) (net.PacketConn, error)
	// Dial opens a stream to addr.
	Dial(ctx context.Context, addr string) (net.Conn, error)
	// LookupHost returns the IP addresses of a host name or address.
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// AcceptBackoff is the pause after a failed accept (out of file descriptors).
const AcceptBackoff = 50 * time.Millisecond

// IgnoreClosed returns err, or nil if it says no more than that what is closed was closed already.
func IgnoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
