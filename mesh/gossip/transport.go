package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/sgkandale/sharelock/internal/share"
	"github.com/sgkandale/sharelock/mesh/network"
)

const (
	// maxStreams is how many streams others may have open to this
	// process's gossip. A host with many gives way to one with fewer.
	maxStreams = 256
	// bindAttempts is how often a port is chosen when any will do: it must be
	// free for TCP and UDP.
	bindAttempts = 10
	// packetBuffer is asked of the system for each socket, so that a burst of
	// packets is not lost.
	packetBuffer = 2 << 20
	maxPacket    = 64 << 10
)

// transport carries memberlist's traffic over a Network: datagrams and
// streams on one port number. Addresses are always IP:port.
type transport struct {
	ctx      context.Context // ends with Shutdown
	cancel   context.CancelFunc
	network  network.Network
	log      *slog.Logger
	listener net.Listener
	socket   net.PacketConn
	port     uint16
	packets  chan *memberlist.Packet
	streams  chan net.Conn
	sealer   *sealer // nil unless the process migrates
	wg       sync.WaitGroup

	// inbound are the places of the streams that others open.
	inbound *share.Places

	mu     sync.Mutex // guards what follows
	conns  map[*trackedConn]struct{}
	closed bool
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// newTransport listens. The caller calls Shutdown.
func newTransport(ctx context.Context, cfg Config, s *sealer) (*transport, error) {
	listener, socket, err := bindBoth(cfg.Network, cfg.Listen)
	if err != nil {
		return nil, err
	}
	bound, err := netip.ParseAddrPort(listener.Addr().String())
	if err != nil {
		return nil, errors.Join(err, listener.Close(), socket.Close())
	}
	if s, ok := socket.(interface{ SetReadBuffer(int) error }); ok {
		_ = s.SetReadBuffer(packetBuffer) // the system may allow less
	}
	if cfg.Streams != nil {
		listener = cfg.Streams(listener)
	}
	t := &transport{
		network:  cfg.Network,
		sealer:   s,
		log:      cfg.Log,
		listener: listener,
		socket:   socket,
		port:     bound.Port(),
		packets:  make(chan *memberlist.Packet),
		streams:  make(chan net.Conn),
		inbound:  share.New(maxStreams),
		conns:    make(map[*trackedConn]struct{}),
	}
	t.ctx, t.cancel = context.WithCancel(ctx)
	t.wg.Go(t.accept)
	t.wg.Go(t.receive)
	return t, nil
}

// bindBoth opens a listener and a socket of the same address. For port 0 it
// tries until a port is free for both.
func bindBoth(on network.Network, listen string) (net.Listener, net.PacketConn, error) {
	attempts := 1
	if _, port, err := net.SplitHostPort(listen); err == nil && port == "0" {
		attempts = bindAttempts
	}
	var last error
	for range attempts {
		listener, err := on.Listen(listen)
		if err != nil {
			return nil, nil, fmt.Errorf("listen on %s: %w", listen, err)
		}
		socket, err := on.ListenPacket(listener.Addr().String())
		if err == nil {
			return listener, socket, nil
		}
		last = errors.Join(fmt.Errorf("listen on %s, UDP: %w", listener.Addr(), err), listener.Close())
	}
	return nil, nil, last
}

// FinalAdvertiseAddr parses the address that Start has decided on.
func (t *transport) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, 0, err
	}
	return addr.AsSlice(), port, nil
}

// WriteTo sends a datagram.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	if t.sealer != nil && t.sealer.reads(addr) {
		b = t.sealer.packet(b)
	}
	_, err = t.socket.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return time.Now(), err
}

// WriteToAddress is WriteTo.
func (t *transport) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, addr.Addr)
}

// DialTimeout opens a stream.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	conn, err := t.network.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	tracked := t.track(conn, nil)
	if tracked == nil {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	tracked.sealing = t.sealer.opened(addr)
	return tracked, nil
}

// DialAddressTimeout is DialTimeout.
func (t *transport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(addr.Addr, timeout)
}

// PacketCh gives the datagrams that arrive.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh gives the streams that arrive.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown closes everything, also streams that memberlist still works on: it
// does not wait for its own goroutines, so they must find out. It may be called
// twice.
func (t *transport) Shutdown() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		t.wg.Wait()
		return nil
	}
	t.closed = true
	conns := t.conns
	t.conns = nil
	t.mu.Unlock()

	t.cancel()
	err := errors.Join(network.IgnoreClosed(t.listener.Close()), network.IgnoreClosed(t.socket.Close()))
	for c := range conns {
		_ = c.Conn.Close()
	}
	t.wg.Wait()
	return err
}

func (t *transport) accept() {
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			if t.pause("accept", err) {
				continue
			}
			return
		}
		tracked := t.admit(conn)
		if tracked == nil {
			_ = conn.Close()
			continue
		}
		tracked.sealing = t.sealer.accepted()
		select {
		case t.streams <- tracked:
		case <-t.ctx.Done():
			_ = tracked.Close()
			return
		}
	}
}

func (t *transport) receive() {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := t.socket.ReadFrom(buf)
		now := time.Now()
		if err != nil {
			if t.pause("receive", err) {
				continue
			}
			return
		}
		if n == 0 {
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: now}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

// pause waits a little after an error that may pass, and says whether to go on.
func (t *transport) pause(op string, err error) bool {
	if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return false
	}
	t.log.Warn("gossip network", "op", op, "error", err)
	timer := time.NewTimer(network.AcceptBackoff)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.ctx.Done():
		return false
	}
}

// admit tracks a stream that another process has opened; nil if there is no room for it. A stream
// that gives way to another host's is closed, and memberlist finds out.
func (t *transport) admit(conn net.Conn) *trackedConn {
	place, _, ok := t.inbound.Take(share.Host(conn.RemoteAddr()), func() { _ = conn.Close() })
	if !ok {
		return nil
	}
	c := t.track(conn, place)
	if c == nil {
		place.Leave()
	}
	return c
}

// track remembers a stream until it is closed; nil after Shutdown. place is that of a stream that
// another process has opened, else nil.
func (t *transport) track(conn net.Conn, place *share.Place) *trackedConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	c := &trackedConn{Conn: conn, transport: t, place: place}
	t.conns[c] = struct{}{}
	return c
}

// trackedConn forgets itself when it is closed.
type trackedConn struct {
	net.Conn
	transport *transport
	place     *share.Place
	sealing   sealing
}

// Read reads what the other side has sent.
func (c *trackedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.sealing.observe(b[:n])
	return n, err
}

// Write writes one message of memberlist, or the label.
func (c *trackedConn) Write(b []byte) (int, error) {
	if out := c.sealing.convert(b); len(out) != len(b) {
		if _, err := c.Conn.Write(out); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Close closes the stream.
func (c *trackedConn) Close() error {
	t := c.transport
	t.mu.Lock()
	delete(t.conns, c)
	t.mu.Unlock()
	c.place.Leave()
	return c.Conn.Close()
}
