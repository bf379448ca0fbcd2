package raftstream

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Layer carries Raft's streams: it accepts from a listener whose streams have passed Accept, and
// dials with the preamble. It remembers every stream, since raft's
// transport closes neither those in its pool nor those it serves: without that
// their goroutines would wait for ever.
type Layer struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu     sync.Mutex // guards what follows
	conns  map[*stream]struct{}
	closed bool
}

var _ raft.StreamLayer = (*Layer)(nil)

// Config is what a Layer needs.
type Config struct {
	// Listener gives the streams of this cluster that come in, after their preamble; the layer
	// takes it over.
	Listener net.Listener
	// Dial opens a stream to an address.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Cluster returns the id of the cluster that is dialled for, empty as long as there is none.
	Cluster func() []byte
	// Address returns where the process with this id is reached now, "" if that is not known:
	// Raft knows processes by their ids alone.
	Address func(id string) string
	// Self is the id of this process.
	Self string
}

// New returns a layer. The caller calls Close.
func New(cfg Config) *Layer {
	ctx, cancel := context.WithCancel(context.Background())
	return &Layer{cfg: cfg, ctx: ctx, cancel: cancel, conns: make(map[*stream]struct{})}
}

// Accept waits for a stream of this cluster.
func (l *Layer) Accept() (net.Conn, error) {
	conn, err := l.cfg.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.track(conn)
}

// Dial opens a stream to the process with this id and says whom it is for.
func (l *Layer) Dial(id raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	preamble, err := appendPreamble(nil, l.cfg.Cluster(), string(id))
	if err != nil {
		return nil, fmt.Errorf("dial voter %s: %w", id, err)
	}
	address := l.cfg.Address(string(id))
	if address == "" {
		return nil, fmt.Errorf("dial voter %s: its address is not known", id)
	}
	ctx, cancel := context.WithTimeout(l.ctx, timeout)
	defer cancel()
	conn, err := l.cfg.Dial(ctx, address)
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

func (l *Layer) track(conn net.Conn) (net.Conn, error) {
	tracked := &stream{Conn: conn, layer: l}
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.conns[tracked] = struct{}{}
	}
	l.mu.Unlock()
	if closed {
		_ = conn.Close()
		return nil, &net.OpError{Op: "raft", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
	return tracked, nil
}

// HangUp closes every stream that is open now.
func (l *Layer) HangUp() {
	l.mu.Lock()
	conns := slices.Collect(maps.Keys(l.conns))
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Conn.Close()
	}
}

// Close closes the listener and every stream, and ends dials. It may be called
// twice.
func (l *Layer) Close() error {
	l.mu.Lock()
	l.closed = true
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	l.cancel()
	err := l.cfg.Listener.Close()
	for c := range conns {
		_ = c.Conn.Close()
	}
	return err
}

// Addr is this process's id, which raft tells the others.
func (l *Layer) Addr() net.Addr { return addr(l.cfg.Self) }

// stream forgets itself when it is closed.
type stream struct {
	net.Conn
	layer *Layer
}

// Close closes the stream.
func (c *stream) Close() error {
	c.layer.mu.Lock()
	delete(c.layer.conns, c)
	c.layer.mu.Unlock()
	return c.Conn.Close()
}

// addr is the id of a process, as raft takes and prints it.
type addr string

// Network is always tcp.
func (addr) Network() string { return "tcp" }

// String is the id.
func (a addr) String() string { return string(a) }
