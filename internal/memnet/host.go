package memnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// firstEphemeral is the first port that is chosen for port 0.
	firstEphemeral = 20000
	// maxBacklog is how many streams may wait for Accept.
	maxBacklog = 1024
)

// Host is the network of one process on a machine of a [Net]; it implements Network of package
// network. Loopback and unspecified addresses, and localhost, mean the machine's own address.
type Host struct {
	net     *Net
	machine *machine
	dead    bool
}

// IP returns the machine's address.
func (h *Host) IP() string { return h.machine.ip.String() }

// LookupHost returns the addresses of a name: those set by [Net.Resolve], or the address of the
// machine with that name. An IP address is returned as it is.
func (h *Host) LookupHost(_ context.Context, host string) ([]string, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if addrs := h.lookup(host); len(addrs) > 0 {
		return addrs, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (h *Host) lookup(host string) []string {
	if addrs, ok := h.net.names[host]; ok {
		return append([]string(nil), addrs...)
	}
	if m, ok := h.net.machines[host]; ok {
		return []string{m.ip.String()}
	}
	if host == "" || host == "localhost" {
		return []string{h.IP()}
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return nil
	case ip.IsLoopback() || ip.IsUnspecified():
		return []string{h.IP()}
	default:
		return []string{ip.Unmap().String()}
	}
}

// resolve turns host:port into addresses.
func (h *Host) resolve(addr string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &net.AddrError{Err: err.Error(), Addr: addr}
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, &net.AddrError{Err: "invalid port", Addr: addr}
	}
	ips := h.lookup(host)
	if len(ips) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	list := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		list[i] = netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(port))
	}
	return list, nil
}

// own resolves an address to listen on, which must be this machine's.
func (h *Host) own(op, network, addr string) (uint16, error) {
	if h.dead {
		return 0, opError(op, network, nil, nil, net.ErrClosed)
	}
	list, err := h.resolve(addr)
	if err != nil {
		return 0, opError(op, network, nil, nil, err)
	}
	if list[0].Addr() != h.machine.ip {
		return 0, opError(op, network, nil, nil, os.NewSyscallError("bind", syscall.EADDRNOTAVAIL))
	}
	return list[0].Port(), nil
}

// pickPort returns the wanted port or, for 0, the next port that is free for both streams and
// datagrams.
func pickPort[T any](m *machine, op, network string, want uint16, taken map[uint16]T) (uint16, error) {
	if want != 0 {
		if _, ok := taken[want]; ok {
			return 0, opError(op, network, nil, nil, os.NewSyscallError("bind", syscall.EADDRINUSE))
		}
		return want, nil
	}
	for range 1 << 16 {
		port := m.nextPort
		m.nextPort++
		if m.nextPort == 0 {
			m.nextPort = firstEphemeral
		}
		if m.listeners[port] == nil && m.sockets[port] == nil {
			return port, nil
		}
	}
	return 0, opError(op, network, nil, nil, os.NewSyscallError("bind", syscall.EADDRINUSE))
}

// Listen opens a listener on the machine's address.
func (h *Host) Listen(addr string) (net.Listener, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	want, err := h.own("listen", "tcp", addr)
	if err != nil {
		return nil, err
	}
	port, err := pickPort(h.machine, "listen", "tcp", want, h.machine.listeners)
	if err != nil {
		return nil, err
	}
	l := &listener{host: h, port: port}
	l.wake.L = &h.net.mu
	h.machine.listeners[port] = l
	return l, nil
}

// Dial opens a stream. While a fault blocks it, Dial waits for the end of the fault or of the
// context.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	h.net.mu.Lock()
	targets, err := h.resolve(addr)
	h.net.mu.Unlock()
	if err != nil {
		return nil, opError("dial", "tcp", nil, nil, err)
	}
	for _, target := range targets {
		var c net.Conn
		if c, err = h.dialOne(ctx, target); err == nil {
			return c, nil
		}
	}
	return nil, err
}

func (h *Host) dialOne(ctx context.Context, target netip.AddrPort) (net.Conn, error) {
	fail := func(err error) error {
		return opError("dial", "tcp", nil, net.TCPAddrFromAddrPort(target), err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fail(err)
	}
	travelled := false
	for {
		c, wait, err := h.tryDial(target, travelled)
		switch {
		case err != nil:
			return nil, fail(err)
		case c != nil:
			return c, nil
		}
		if wait.roundTrip > 0 {
			travelled = true
		}
		if err := wait.until(ctx); err != nil {
			return nil, fail(err)
		}
	}
}

// dialWait says what a dial must wait for: a round trip, or a change of the faults.
type dialWait struct {
	roundTrip time.Duration
	changed   <-chan struct{}
}

func (w dialWait) until(ctx context.Context) error {
	if w.roundTrip == 0 {
		select {
		case <-w.changed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	timer := time.NewTimer(w.roundTrip)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tryDial connects, or returns what to wait for.
func (h *Host) tryDial(target netip.AddrPort, travelled bool) (net.Conn, dialWait, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.dead {
		return nil, dialWait{}, net.ErrClosed
	}
	from, to := h.machine, n.byIP[target.Addr()]
	if to == nil {
		return nil, dialWait{}, os.NewSyscallError("connect", syscall.EHOSTUNREACH)
	}
	if n.blocked(from, to) || n.blocked(to, from) || n.links[link{from, to}].walled || from != to && to.deaf[target.Port()] {
		return nil, dialWait{changed: n.changed}, nil
	}
	if d := n.delay(from, to) + n.delay(to, from); d > 0 && !travelled {
		return nil, dialWait{roundTrip: d}, nil
	}
	l := to.listeners[target.Port()]
	if l == nil || len(l.backlog) >= maxBacklog {
		return nil, dialWait{}, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	port, err := pickPort(from, "dial", "tcp", 0, from.listeners)
	if err != nil {
		return nil, dialWait{}, err
	}
	near, far := n.connect(h, l.host, netip.AddrPortFrom(from.ip, port), target)
	l.backlog = append(l.backlog, far)
	l.wake.Signal()
	return near, dialWait{}, nil
}

// listener is a listening port.
type listener struct {
	host *Host
	port uint16
	// backlog holds the streams that nobody has accepted yet.
	backlog []*conn
	closed  bool
	wake    sync.Cond
}

// Accept waits for the next stream.
func (l *listener) Accept() (net.Conn, error) {
	mu := &l.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	for {
		if l.closed {
			return nil, opError("accept", "tcp", l.Addr(), nil, net.ErrClosed)
		}
		if len(l.backlog) > 0 {
			c := l.backlog[0]
			l.backlog = l.backlog[1:]
			return c, nil
		}
		l.wake.Wait()
	}
}

// Close resets the streams that nobody accepted.
func (l *listener) Close() error {
	mu := &l.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	if l.closed {
		return opError("close", "tcp", l.Addr(), nil, net.ErrClosed)
	}
	l.shut()
	return nil
}

func (l *listener) shut() {
	l.closed = true
	delete(l.host.machine.listeners, l.port)
	for _, c := range l.backlog {
		if !c.closed {
			c.drop()
			c.out.send(segment{kind: segReset})
		}
	}
	l.backlog = nil
	l.wake.Broadcast()
}

// Addr returns the machine's address with the port.
func (l *listener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.host.machine.ip, l.port))
}

func opError(op, network string, local, remote net.Addr, err error) error {
	if err == nil {
		panic(fmt.Sprintf("memnet: %s without an error", op))
	}
	return &net.OpError{Op: op, Net: network, Source: local, Addr: remote, Err: err}
}
