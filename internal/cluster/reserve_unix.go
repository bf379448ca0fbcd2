//go:build unix

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reservation keeps one port of loopback, for streams and datagrams, whether a process
// listens on it or not. While none does, connections are refused, as on a machine whose
// process has died.
//
// For streams it is a socket that is bound and does not listen. With SO_REUSEPORT a listener
// may be bound beside it, and the system gives the port to no other process. For datagrams
// this would not work, because any bound socket receives packets. There the socket itself is
// kept, and each node gets a duplicate of it.
type reservation struct {
	addr    string
	stream  int
	packets *net.UDPConn
}

// reserveAttempts is the number of ports that are tried until one is free for both.
const reserveAttempts = 20

func reserve() (*reservation, error) {
	var errs []error
	for range reserveAttempts {
		r, err := reserveOnce()
		if err == nil {
			return r, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("reserve a port: %w", errors.Join(errs...))
}

func reserveOnce() (*reservation, error) {
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	r := &reservation{stream: fd}
	if err := r.bind(); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *reservation) bind() error {
	if err := reusePort(uintptr(r.stream)); err != nil {
		return err
	}
	if err := unix.Bind(r.stream, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(r.stream)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	at := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*unix.SockaddrInet4).Port}
	r.addr = at.String()
	r.packets, err = net.ListenUDP("udp4", at)
	return err
}

func reusePort(fd uintptr) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

// listen opens the listener of the port.
func (r *reservation) listen() (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		return errors.Join(c.Control(func(fd uintptr) { failed = reusePort(fd) }), failed)
	}}
	return lc.Listen(context.Background(), "tcp4", r.addr)
}

// listenPacket returns the socket of the port, without the packets that came while nobody
// had it open.
func (r *reservation) listenPacket() (net.PacketConn, error) {
	if err := r.drain(); err != nil {
		return nil, err
	}
	f, err := r.packets.File()
	if err != nil {
		return nil, err
	}
	c, err := net.FilePacketConn(f)
	return c, errors.Join(err, f.Close())
}

func (r *reservation) drain() error {
	// A deadline in the past would end the loop before the first read.
	if err := r.packets.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return err
	}
	buf := make([]byte, 1)
	for {
		switch _, _, err := r.packets.ReadFromUDP(buf); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return err
		}
	}
}

func (r *reservation) close() error {
	err := os.NewSyscallError("close", unix.Close(r.stream))
	if r.packets != nil {
		err = errors.Join(err, r.packets.Close())
	}
	return err
}
