package mesh

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sgkandale/sharelock/mesh/network"
)

// raftLayer carries Raft's streams: it accepts from a mux and dials with the
// preamble that a mux looks for. It remembers every stream, since raft's
// transport closes neither those in its pool nor those it serves: without that
// their goroutines would wait for ever.
type raftLayer struct {
	listener  net.Listener
	network   network.Network
	clusterID func() []byte
	address   func(id string) string
	addr      raftAddr
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc

	mu     sync.Mutex // guards what follows
	conns  map[*raftConn]struct{}
	closed bool
}

var _ raft.StreamLayer = (*raftLayer)(nil)

// newRaftLayer takes over the listener. clusterID gives the cluster that is
// dialled for, empty as long as there is none. Raft knows processes by their ids
// alone, self is this one's: address finds where one is reached now, "" if that is
// not known.
func newRaftLayer(l net.Listener, on network.Network, clusterID func() []byte, address func(id string) string, self string) *raftLayer {
	ctx, cancel := context.WithCancel(context.Background())
	return &raftLayer{
		listener:  l,
		network:   on,
		clusterID: clusterID,
		address:   address,
		addr:      raftAddr(self),
		ctx:       ctx,
		cancel:    cancel,
		conns:     make(map[*raftConn]struct{}),
	}
}

// Accept waits for a stream of this cluster.
func (l *raftLayer) Accept() (net.Conn, error) {
	conn, err := l.listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.track(conn)
}

// Dial opens a stream to the process with this id and says whom it is for.
func (l *raftLayer) Dial(id raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	preamble, err := appendPreamble(nil, l.clusterID(), string(id))
	if err != nil {
		return nil, fmt.Errorf("dial voter %s: %w", id, err)
	}
	address := l.address(string(id))
	if address == "" {
		return nil, fmt.Errorf("dial voter %s: its address is not known", id)
	}
	ctx, cancel := context.WithTimeout(l.ctx, timeout)
	defer cancel()
	conn, err := l.network.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	tracked, err := l.track(conn)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	err = conn.SetWriteDeadline(deadline)
	if err == nil {
		_, err = conn.Write(preamble)
	}
	if err == nil {
		err = conn.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		_ = tracked.Close()
		return nil, fmt.Errorf("dial voter %s at %s: %w", id, address, err)
	}
	return tracked, nil
}

func (l *raftLayer) track(conn net.Conn) (net.Conn, error) {
	tracked := &raftConn{Conn: conn, layer: l}
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.conns[tracked] = struct{}{}
	}
	l.mu.Unlock()
	if closed {
		_ = conn.Close()
		return nil, &net.OpError{Op: "raft", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	return tracked, nil
}

// hangUp closes every stream that is open now.
func (l *raftLayer) hangUp() {
	l.mu.Lock()
	conns := slices.Collect(maps.Keys(l.conns))
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Conn.Close()
	}
}

// Close closes the listener and every stream, and ends dials. It may be called
// twice.
func (l *raftLayer) Close() error {
	l.mu.Lock()
	l.closed = true
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	l.cancel()
	err := l.listener.Close()
	for c := range conns {
		_ = c.Conn.Close()
	}
	return err
}

// Addr is this process's id, which raft tells the others.
func (l *raftLayer) Addr() net.Addr { return l.addr }

// raftConn forgets itself when it is closed.
type raftConn struct {
	net.Conn
	layer *raftLayer
}

// Close closes the stream.
func (c *raftConn) Close() error {
	c.layer.mu.Lock()
	delete(c.layer.conns, c)
	c.layer.mu.Unlock()
	return c.Conn.Close()
}

// raftAddr is host:port as raft prints it.
type raftAddr string

// Network is always tcp.
func (raftAddr) Network() string { return "tcp" }

// String is host:port.
func (a raftAddr) String() string { return string(a) }
