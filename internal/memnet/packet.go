package memnet

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// maxDatagram is the largest payload of a UDP packet over IPv4.
	maxDatagram = 65507
	// maxQueue is how many datagrams a socket keeps. Further ones are dropped.
	maxQueue = 4096
)

type datagram struct {
	data []byte
	from netip.AddrPort
}

// packetConn is a datagram socket.
type packetConn struct {
	host   *Host
	port   uint16
	queue  []datagram
	closed bool
	read   deadline
	wake   sync.Cond
}

// ListenPacket opens a datagram socket on the machine's address.
func (h *Host) ListenPacket(addr string) (net.PacketConn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	want, err := h.own("listen", "udp", addr)
	if err != nil {
		return nil, err
	}
	port, err := pickPort(h.machine, "listen", "udp", want, h.machine.sockets)
	if err != nil {
		return nil, err
	}
	s := &packetConn{host: h, port: port}
	s.wake.L = &h.net.mu
	h.machine.sockets[port] = s
	return s, nil
}

// ReadFrom blocks until a datagram arrives. What does not fit into p is lost.
func (s *packetConn) ReadFrom(p []byte) (int, net.Addr, error) {
	mu := &s.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, nil, s.fail("read", net.ErrClosed)
		case s.read.passed():
			return 0, nil, s.fail("read", os.ErrDeadlineExceeded)
		case len(s.queue) > 0:
			d := s.queue[0]
			s.queue[0] = datagram{}
			s.queue = s.queue[1:]
			return copy(p, d.data), net.UDPAddrFromAddrPort(d.from), nil
		}
		s.wake.Wait()
	}
}

// WriteTo sends a datagram. Like UDP, it does not report whether it arrived.
func (s *packetConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.closed {
		return 0, s.fail("write", net.ErrClosed)
	}
	if len(p) > maxDatagram {
		return 0, s.fail("write", os.NewSyscallError("sendto", syscall.EMSGSIZE))
	}
	targets, err := s.host.resolve(addr.String())
	if err != nil {
		return 0, s.fail("write", err)
	}
	to := n.byIP[targets[0].Addr()]
	if to == nil {
		return len(p), nil
	}
	d := datagram{append([]byte(nil), p...), netip.AddrPortFrom(s.host.machine.ip, s.port)}
	copies := 1
	switch roll := n.rnd.Float64(); {
	case roll < n.loss:
		copies = 0
	case roll < n.loss+n.doubling:
		copies = 2
	}
	for range copies {
		n.post(s.host.machine, to, targets[0].Port(), d)
	}
	return len(p), nil
}

// post delivers a datagram, at once or after the link's delay.
func (n *Net) post(from, to *machine, port uint16, d datagram) {
	wait := n.delay(from, to)
	if wait == 0 {
		n.deliver(from, to, port, d)
		return
	}
	time.AfterFunc(wait, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.deliver(from, to, port, d)
	})
}

func (n *Net) deliver(from, to *machine, port uint16, d datagram) {
	s := to.sockets[port]
	if s == nil || n.blocked(from, to) || from != to && to.deaf[port] || len(s.queue) >= maxQueue {
		return
	}
	s.queue = append(s.queue, d)
	s.wake.Signal()
}

// Close drops the datagrams that were not read.
func (s *packetConn) Close() error {
	mu := &s.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	if s.closed {
		return s.fail("close", net.ErrClosed)
	}
	s.shut()
	return nil
}

func (s *packetConn) shut() {
	s.closed = true
	s.queue = nil
	s.read.stop()
	delete(s.host.machine.sockets, s.port)
	s.wake.Broadcast()
}

// LocalAddr returns the machine's address with the port.
func (s *packetConn) LocalAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.host.machine.ip, s.port))
}

// SetDeadline is SetReadDeadline: writes never block.
func (s *packetConn) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetReadDeadline makes reads fail from t on. The zero time means no deadline.
func (s *packetConn) SetReadDeadline(t time.Time) error {
	mu := &s.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	if s.closed {
		return s.fail("set", net.ErrClosed)
	}
	s.read.set(t, &s.wake)
	return nil
}

// SetWriteDeadline does nothing: writes never block.
func (s *packetConn) SetWriteDeadline(time.Time) error { return nil }

func (s *packetConn) fail(op string, err error) error {
	return opError(op, "udp", s.LocalAddr(), nil, err)
}
