package peerport

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/mesh/network"
)

const (
	// HelloTimeout is how long a new stream may take to say what it is, and to
	// be accepted.
	HelloTimeout = 5 * time.Second
	// maxOpening is how many new streams may be in that state. One more takes the place
	// of another: see Port.begin.
	maxOpening = 256
	// magicSize is the length of every magic.
	magicSize = 4
)

// Protocol is one of those that share a port.
type Protocol struct {
	// Magic is what its streams begin with: 4 bytes, and not the first of HTTP/2's.
	Magic string
	// Open decides about a stream whose magic was read, and returns what its listener gets. It may
	// read and write until the stream's deadline. Nil without an error is a stream that it has
	// answered, and that is closed.
	Open func(conn net.Conn) (net.Conn, error)
}

// Port serves several protocols on one port.
type Port struct {
	listener  net.Listener
	log       *slog.Logger
	protocols map[string]Protocol
	parts     map[string]*listener // by the magic; "" is the rest
	wg        sync.WaitGroup
	stopped   chan struct{}

	mu sync.Mutex // guards what follows
	// opening are the streams that have not been handed over, by when they came.
	opening map[net.Conn]uint64
	came    uint64
	closed  bool
}

// New takes over a listener. The caller closes the port, and accepts from all its listeners.
func New(l net.Listener, log *slog.Logger, protocols ...Protocol) *Port {
	p := &Port{
		listener:  l,
		log:       log,
		protocols: make(map[string]Protocol),
		parts:     map[string]*listener{"": newListener(l.Addr())},
		stopped:   make(chan struct{}),
		opening:   make(map[net.Conn]uint64),
	}
	for _, protocol := range protocols {
		p.protocols[protocol.Magic] = protocol
		p.parts[protocol.Magic] = newListener(l.Addr())
	}
	p.wg.Go(p.accept)
	return p
}

// Listener returns the listener of the protocol with a magic.
func (p *Port) Listener(magic string) net.Listener { return p.parts[magic] }

// Rest returns the listener of the streams that begin with no protocol's magic.
func (p *Port) Rest() net.Listener { return p.parts[""] }

// Close stops all listeners and drops streams that were not accepted yet. It
// waits for the port's goroutines and may be called twice.
func (p *Port) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		p.wg.Wait()
		return nil
	}
	p.closed = true
	close(p.stopped)
	conns := make([]net.Conn, 0, len(p.opening))
	for c := range p.opening {
		conns = append(conns, c)
	}
	p.mu.Unlock()

	err := p.listener.Close()
	p.stopListeners()
	for _, c := range conns {
		_ = c.Close()
	}
	p.wg.Wait()
	return err
}

func (p *Port) accept() {
	for {
		conn, err := p.listener.Accept()
		if err == nil {
			p.begin(conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			p.stopListeners()
			return
		}
		p.log.Warn("accept failed", "error", err)
		select {
		case <-time.After(network.AcceptBackoff):
		case <-p.stopped:
			return
		}
	}
}

// stopListeners ends the listeners above the one that has ended.
func (p *Port) stopListeners() {
	for _, l := range p.parts {
		_ = l.Close()
	}
}

// begin starts to look at a stream. If too many are looked at already, one of them is
// dropped for it, so that streams that say nothing do not keep out those that do: a member
// says at once what its stream is.
func (p *Port) begin(conn net.Conn) {
	network.LimitUnacked(conn)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		_ = conn.Close()
		return
	}
	var dropped net.Conn
	if len(p.opening) >= maxOpening {
		dropped = p.silent()
		delete(p.opening, dropped)
	}
	p.came++
	p.opening[conn] = p.came
	p.wg.Go(func() { p.open(conn) })
	p.mu.Unlock()
	if dropped != nil {
		_ = dropped.Close()
		p.log.Warn("dropped a connection: too many are of unknown kind", "remote", dropped.RemoteAddr())
	}
}

// silent returns the oldest stream of the host that has the most of them: a host that opens
// many harms itself only. It needs mu.
func (p *Port) silent() (oldest net.Conn) {
	count := map[string]int{}
	for conn := range p.opening {
		count[remoteHost(conn)]++
	}
	most := 0
	for _, n := range count {
		most = max(most, n)
	}
	for conn, came := range p.opening {
		if count[remoteHost(conn)] == most && (oldest == nil || came < p.opening[oldest]) {
			oldest = conn
		}
	}
	return oldest
}

func remoteHost(conn net.Conn) string {
	addr := conn.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}

// open finds out what a stream is and hands it over.
func (p *Port) open(conn net.Conn) {
	handedOver := p.handOver(conn)
	p.mu.Lock()
	delete(p.opening, conn)
	p.mu.Unlock()
	if !handedOver {
		_ = conn.Close()
	}
}

// handOver reports whether somebody has accepted a stream.
func (p *Port) handOver(conn net.Conn) bool {
	deadline := time.Now().Add(HelloTimeout)
	if err := conn.SetDeadline(deadline); err != nil {
		return false
	}
	head := make([]byte, magicSize)
	if _, err := io.ReadFull(conn, head); err != nil {
		p.log.Debug("dropped a connection of unknown kind", "remote", conn.RemoteAddr(), "error", err)
		return false
	}
	var to *listener
	var out net.Conn
	if protocol, ok := p.protocols[string(head)]; ok {
		to = p.parts[protocol.Magic]
		opened, err := protocol.Open(conn)
		if err != nil {
			p.log.Warn("refused a stream", "remote", conn.RemoteAddr(), "magic", string(head), "error", err)
		}
		if err != nil || opened == nil {
			return false
		}
		out = opened
	} else {
		to, out = p.parts[""], frame.Replay(conn, head)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return false
	}
	return to.deliver(out, time.Until(deadline))
}
