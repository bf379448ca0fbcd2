package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/api/gate"
	"github.com/sgkandale/sharelock/api/refuse"
	"github.com/sgkandale/sharelock/api/remote"
	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/netconn"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// framePatience is how long sending one message of a session without gRPC may take. It may take a
// quarter longer, and then still less than the 30 s of Q1.
const framePatience = 24 * time.Second

// readBuffer is the size of the system's receive buffer of a session, in bytes. The system may use
// about twice that.
const readBuffer = 64 << 10

// framed serves sessions without gRPC, whose messages are frames on a plain stream; see package
// frame. They use the gRPC port and are recognised by their first bytes. A session is cheap: it
// needs two goroutines, and memory for the calls in flight.
type framed struct {
	locks *locks
	log   *slog.Logger
	// work counts the goroutines that serve streams, that accept them, and that of closeHung.
	work sync.WaitGroup
	// done is closed when closed is set.
	done chan struct{}

	mu sync.Mutex
	// conns maps the connections of sessions to the sessions. The session is nil while the
	// kind of the connection is unknown. Guarded by mu.
	conns map[net.Conn]*session
	// checking is set once closeHung was started; guarded by mu.
	checking bool
	closed   bool // guarded by mu
}

func newFramed(l *locks, log *slog.Logger) *framed {
	return &framed{locks: l, log: log, done: make(chan struct{}), conns: map[net.Conn]*session{}}
}

// split takes over a listener and returns a listener of the connections that are not sessions. It
// ends when the returned listener is closed, which gRPC does.
func (f *framed) split(l net.Listener) net.Listener {
	s := &splitter{Listener: l, conns: make(chan accepted), done: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed { // otherwise gRPC is closed as well, and closes the listener
		f.work.Go(func() { f.accept(s) })
		if !f.checking {
			f.checking = true
			f.work.Go(f.closeHung)
		}
	}
	return s
}

// stop closes all connections.
func (f *framed) stop() { f.close(func(*session) bool { return true }) }

// wait waits until the sessions have ended and the listeners, which must have been closed, are no
// longer accepted on. It closes the connections whose kind is still unknown.
func (f *framed) wait() {
	f.close(func(s *session) bool { return s == nil })
	f.work.Wait()
}

// close stops accepting connections, and closes the connections that which selects.
func (f *framed) close(which func(*session) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.done)
	}
	for c, s := range f.conns {
		if which(s) {
			_ = c.Close()
		}
	}
}

const (
	// hungInterval is the interval at which closeHung checks all sessions. A client is considered
	// hung if it has sent nothing for hungChecks checks in a row although it has calls in
	// flight: it must send a ping every 5 s then (see LockService.Session). Otherwise a hung
	// client would keep its places in queues, because this node sends its waiting requests
	// again for it (Q5).
	hungInterval = 5 * time.Second
	hungChecks   = 3
)

// closeHung ends the sessions of hung clients.
func (f *framed) closeHung() {
	tick := time.NewTicker(hungInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-f.done:
			return
		}
		f.mu.Lock()
		for c, s := range f.conns {
			if s != nil && s.silent() >= hungChecks {
				f.log.Debug("closing the session of a client that sends nothing while its calls are in flight", "remote", c.RemoteAddr())
				_ = c.Close()
			}
		}
		f.mu.Unlock()
	}
}

func (f *framed) accept(s *splitter) {
	for {
		conn, err := s.Listener.Accept()
		if err != nil {
			// gRPC knows which errors are temporary, and pauses before it accepts again.
			if !s.deliver(accepted{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if !f.add(conn) {
			_ = conn.Close()
			continue
		}
		go f.begin(s, conn) // counted by add
	}
}

// add registers a connection. It reports false after close.
func (f *framed) add(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.conns[conn] = nil
	f.work.Add(1)
	return true
}

func (f *framed) remove(conn net.Conn) {
	f.mu.Lock()
	delete(f.conns, conn)
	f.mu.Unlock()
	f.work.Done()
}

// begin finds out the kind of a connection, within handshakeTimeout. It serves a session, and
// returns when the session has ended.
func (f *framed) begin(s *splitter, conn net.Conn) {
	defer f.remove(conn)
	head, err := f.look(conn)
	if err == nil && string(head) != sessionwire.SessionMagic {
		// gRPC would set these options itself, but it does not see the TCP connection.
		f.setTimeouts(conn, 0)
		if s.deliver(accepted{conn: frame.Replay(conn, head)}) {
			return
		}
		err = net.ErrClosed
	}
	if err == nil {
		err = f.session(conn)
	}
	_ = conn.Close()
	if err != nil && !errors.Is(err, io.EOF) {
		f.log.Debug("a stream ended", "remote", conn.RemoteAddr(), "error", err)
	}
}

// look reads the first bytes of a connection. If it is a session, it also completes the handshake.
func (f *framed) look(conn net.Conn) ([]byte, error) {
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	head := make([]byte, len(sessionwire.SessionMagic))
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, err
	}
	if _, secure := netconn.TLS(conn); refuse.BeginsTLS(head) && !secure {
		refuse.TLS(conn)
		return nil, errors.New("it begins with TLS, and this port has none")
	}
	if string(head) == sessionwire.SessionMagic {
		if err := sessionwire.ReadHello(conn); err != nil {
			return nil, err
		}
		if _, err := conn.Write(sessionwire.AppendWelcome(nil)); err != nil {
			return nil, err
		}
	}
	return head, conn.SetDeadline(time.Time{})
}

// session serves one session.
func (f *framed) session(conn net.Conn) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(f.log, pb.LockService_Session_FullMethodName, p)
		}
	}()
	f.setTimeouts(conn, keepaliveInterval)
	st := frame.New(conn, sessionwire.MaxSessionFrame, framePatience)
	place, ending, err := f.locks.enter(conn.RemoteAddr())
	if err != nil {
		refuseFrames(conn, st, err)
		return err
	}
	defer place.Leave()
	ctx, cancel := context.WithCancel(remote.With(context.Background(), conn))
	defer cancel()
	ss := f.locks.open(st, conn.RemoteAddr(), gate.ConnCredentials(conn), ending)
	f.mu.Lock()
	f.conns[conn] = ss
	closed := f.closed
	f.mu.Unlock()
	defer func() {
		// This ends the reader. After that, nothing calls the node any more.
		cancel()
		_ = conn.Close()
		ss.ended()
		ss.close(f.locks.node)
	}()
	if closed { // close may not have seen that this is a session
		_ = conn.Close()
	}
	err = ss.serve(ctx, "")
	farewell(st, func() { halfClose(conn) }, err, ss.read)
	return err
}

// setTimeouts makes the system close a connection whose other end has disappeared: when data is not
// acknowledged for keepaliveTimeout, or when TCP keepalives, which begin after the connection was
// idle for rest, are not answered for keepaliveTimeout. With rest 0 there are no TCP keepalives.
func (f *framed) setTimeouts(conn net.Conn, rest time.Duration) {
	tcp := netconn.TCP(conn)
	if tcp == nil {
		return
	}
	err := errors.Join(limitUnacknowledged(tcp, keepaliveTimeout), limitUnsent(tcp))
	if rest > 0 {
		// A small buffer: a session's keepalives wait behind the calls in the buffer, whose
		// answers may be long.
		err = errors.Join(err, tcp.SetReadBuffer(readBuffer))
	}
	if rest > 0 {
		err = errors.Join(err, tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: rest, Interval: keepaliveTimeout / 3, Count: 3}))
	}
	if err != nil {
		f.log.Debug("cannot set the timeouts of a connection", "remote", conn.RemoteAddr(), "error", err)
	}
}

// accepted is a result of Accept.
type accepted struct {
	conn net.Conn
	err  error
}

// splitter is a listener of the connections that are not sessions.
type splitter struct {
	net.Listener
	conns chan accepted
	once  sync.Once // of done
	done  chan struct{}
}

// deliver passes a to Accept. It blocks until Accept is called, and reports false after Close.
func (s *splitter) deliver(a accepted) bool {
	select {
	case s.conns <- a:
		return true
	case <-s.done:
		return false
	}
}

// Accept implements net.Listener.
func (s *splitter) Accept() (net.Conn, error) {
	select {
	case a := <-s.conns:
		return a.conn, a.err
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (s *splitter) Close() error {
	s.once.Do(func() { close(s.done) })
	return s.Listener.Close()
}
