package peerport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/opening"
	"github.com/sgkandale/sharelock/internal/seldom"
	"github.com/sgkandale/sharelock/internal/share"
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
	// recordHandshake is the first byte of a stream that has TLS.
	recordHandshake = 0x16
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

// Secure makes TLS of a stream that came in, within the deadline of the stream. If the stream has no
// TLS and must have, the error wraps Plain, and the result is the stream, for an answer.
type Secure struct {
	Handshake func(conn net.Conn) (net.Conn, error)
	Plain     error
}

// Port serves several protocols on one port.
type Port struct {
	listener  net.Listener
	log       *slog.Logger
	secure    *Secure // nil: streams have no TLS
	protocols map[string]Protocol
	parts     map[string]*listener // by the magic; "" is the rest
	wg        sync.WaitGroup
	stopped   chan struct{}
	closing   sync.Once
	// opening are the streams that have not been handed over.
	opening *opening.Set
	refused seldom.Log
}

// New takes over a listener. Streams have TLS if secure is not nil. The caller closes the port, and
// accepts from all its listeners.
func New(l net.Listener, log *slog.Logger, secure *Secure, protocols ...Protocol) *Port {
	p := &Port{
		listener:  l,
		log:       log,
		secure:    secure,
		protocols: make(map[string]Protocol),
		parts:     map[string]*listener{"": newListener(l.Addr())},
		stopped:   make(chan struct{}),
		opening:   opening.New(maxOpening),
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
func (p *Port) Close() (err error) {
	p.closing.Do(func() {
		close(p.stopped)
		err = p.listener.Close()
		p.stopListeners()
		p.opening.Close()
	})
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
// dropped for it: a member says at once what its stream is.
func (p *Port) begin(conn net.Conn) {
	network.LimitUnacked(conn)
	dropped, ok := p.opening.Add(conn, func() { p.wg.Go(func() { p.open(conn) }) })
	if !ok {
		_ = conn.Close()
	}
	if dropped != nil && p.refused.Allow("dropped") {
		p.log.Warn("dropped a connection: too many are of unknown kind", "remote", dropped.RemoteAddr())
	}
}

// open finds out what a stream is and hands it over.
func (p *Port) open(conn net.Conn) {
	made, err := p.handOver(conn)
	p.opening.Remove(conn)
	if err == nil {
		return
	}
	if made != nil {
		_ = made.Close()
	}
	_ = conn.Close()
	if !errors.Is(err, errNothing) {
		p.refuse(conn, err)
	}
}

// refuse logs why a stream was closed. A stranger who tries again and again does not fill the log.
func (p *Port) refuse(conn net.Conn, err error) {
	level := slog.LevelDebug
	if p.refused.Allow(share.Host(conn.RemoteAddr())) {
		level = slog.LevelWarn
	}
	p.log.Log(context.Background(), level, "refused a stream", "remote", conn.RemoteAddr(), "error", err)
}

// errNothing: a stream ended, or was answered, or nobody wanted it, which is not worth a line.
var errNothing = errors.New("nothing to say about the stream")

// handOver hands a stream to who accepts it. After an error the stream is to be closed; made is not
// nil if TLS was made of it.
func (p *Port) handOver(conn net.Conn) (made net.Conn, err error) {
	deadline := time.Now().Add(HelloTimeout)
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, errNothing
	}
	made = conn
	if p.secure != nil {
		if made, err = p.secure.Handshake(conn); err != nil {
			return made, p.insecure(made, err)
		}
	}
	head := make([]byte, magicSize)
	if _, err := io.ReadFull(made, head); err != nil {
		p.log.Debug("dropped a connection of unknown kind", "remote", conn.RemoteAddr(), "error", err)
		return made, errNothing
	}
	to, out, err := p.identify(made, head)
	if err != nil {
		return made, err
	}
	if conn.SetDeadline(time.Time{}) != nil || !to.deliver(out, time.Until(deadline)) {
		return made, errNothing
	}
	return made, nil
}

// identify finds the protocol of a stream by its first bytes, and what its listener gets.
func (p *Port) identify(conn net.Conn, head []byte) (to *listener, out net.Conn, err error) {
	if protocol, ok := p.protocols[string(head)]; ok {
		out, err = protocol.Open(conn)
		if err == nil && out == nil {
			err = errNothing
		}
		if err != nil && !errors.Is(err, errNothing) {
			err = fmt.Errorf("%s: %w", head, err)
		}
		return p.parts[protocol.Magic], out, err
	}
	if p.secure == nil && head[0] == recordHandshake {
		// The other end says that this is no TLS when it reads anything else.
		_, _ = conn.Write([]byte("no TLS\r\n"))
		return nil, nil, errors.New("it has TLS, but this node has none between members (tls.members)")
	}
	return p.parts[""], frame.Replay(conn, head), nil
}
