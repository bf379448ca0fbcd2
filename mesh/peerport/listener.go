package peerport

import (
	"net"
	"sync"
	"time"
)

// listener is one part of a Port.
type listener struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newListener(addr net.Addr) *listener {
	return &listener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// deliver waits until someone accepts the stream.
func (l *listener) deliver(conn net.Conn, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case l.conns <- conn:
		return true
	case <-l.closed:
	case <-timer.C:
	}
	return false
}

// Accept waits for the next stream; after Close it is net.ErrClosed.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
}

// Close stops this part; the others go on. It may be called twice.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr is the address of the listener below.
func (l *listener) Addr() net.Addr { return l.addr }
