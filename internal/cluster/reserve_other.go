//go:build !unix

package cluster

import (
	"errors"
	"net"
)

// reservation is a port of loopback that was free for streams and datagrams. This system
// offers no way to keep a port reserved while nobody listens on it.
type reservation struct{ addr string }

func reserve() (*reservation, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &reservation{addr: l.Addr().String()}
	p, err := r.listenPacket()
	if err == nil {
		err = p.Close()
	}
	return r, errors.Join(err, l.Close())
}

func (r *reservation) listen() (net.Listener, error)         { return net.Listen("tcp4", r.addr) }
func (r *reservation) listenPacket() (net.PacketConn, error) { return net.ListenPacket("udp4", r.addr) }
func (r *reservation) close() error                          { return nil }
