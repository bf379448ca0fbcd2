package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/frame"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// framePatience is how long a message of a session without gRPC may take to be sent, or
// a quarter longer: no message lives longer (Q1).
const framePatience = 24 * time.Second

// readBuffer is what the system takes of a session that this node has not read yet, in
// bytes, or about twice that.
const readBuffer = 64 << 10

// framed serves sessions without gRPC: each message is a frame on a stream of its own,
// see package frame. They come in at gRPC's port and are told apart by how they begin.
// What a session costs is little: two goroutines, and room for what is under way.
type framed struct {
	locks *locks
	log   *slog.Logger
	// work counts the goroutines of streams, of accepting them, and the one that looks
	// after them.
	work sync.WaitGroup
	// done is closed with closed.
	done chan struct{}

	mu sync.Mutex
	// conns are the streams of sessions, and with nil those that have not said yet what
	// they are. Guarded by mu.
	conns map[net.Conn]*session
	// looking: somebody looks after the sessions; guarded by mu.
	looking bool
	closed  bool // guarded by mu
}

func newFramed(l *locks, log *slog.Logger) *framed {
	return &framed{locks: l, log: log, done: make(chan struct{}), conns: map[net.Conn]*session{}}
}

// split takes over a listener: what it gives are all streams that are no session's. It
// ends with Close, which gRPC calls.
func (f *framed) split(l net.Listener) net.Listener {
	s := &splitter{Listener: l, conns: make(chan accepted), done: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed { // otherwise gRPC, which is closed, too, closes it
		f.work.Go(func() { f.accept(s) })
		if !f.looking {
			f.looking = true
			f.work.Go(f.lookAfter)
		}
	}
	return s
}

// stop closes all streams.
func (f *framed) stop() { f.close(func(*session) bool { return true }) }

// wait waits for the sessions to end, and for the listeners, which somebody has closed.
// Streams that have not said what they are do not matter any more.
func (f *framed) wait() {
	f.close(func(s *session) bool { return s == nil })
	f.work.Wait()
}

// close takes no more streams, and closes some.
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
	// lookEvery is how often sessions are looked after, and silentLooks in how many looks
	// in a row a client may have said nothing though its calls are under way: it sends a
	// ping every 5 s then (see LockService.Session). A client that hangs would otherwise keep
	// its places in the queues, which this node keeps young in its name (Q5).
	lookEvery   = 5 * time.Second
	silentLooks = 3
)

// lookAfter ends the sessions of clients that hang.
func (f *framed) lookAfter() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-f.done:
			return
		}
		f.mu.Lock()
		for c, s := range f.conns {
			if s != nil && s.silent() >= silentLooks {
				f.log.Debug("a client says nothing while its calls are under way", "remote", c.RemoteAddr())
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
			// gRPC knows which errors pass, and pauses before it accepts again.
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

// add notes a stream; false once all are closed.
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

// begin finds out what a stream is, for which it has the time of a handshake. One that is
// a session ends with this.
func (f *framed) begin(s *splitter, conn net.Conn) {
	defer f.remove(conn)
	head, err := f.look(conn)
	if err == nil && string(head) != pb.SessionMagic {
		// gRPC would do so, did it know what is behind.
		f.watchOver(conn, 0)
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

// look reads what a stream begins with, and answers it if it is a session.
func (f *framed) look(conn net.Conn) ([]byte, error) {
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	head := make([]byte, len(pb.SessionMagic))
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, err
	}
	if string(head) == pb.SessionMagic {
		if err := pb.ReadHello(conn); err != nil {
			return nil, err
		}
		if _, err := conn.Write(pb.AppendWelcome(nil)); err != nil {
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
	f.watchOver(conn, keepaliveInterval)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ss := f.locks.open(frame.New(conn, pb.MaxSessionFrame, framePatience), conn.RemoteAddr())
	f.mu.Lock()
	f.conns[conn] = ss
	closed := f.closed
	f.mu.Unlock()
	defer func() {
		// The reader ends; behind it nothing is asked of the node any more.
		cancel()
		_ = conn.Close()
		ss.ended()
		ss.close(f.locks.node)
	}()
	if closed { // nobody may have seen that this is a session
		_ = conn.Close()
	}
	return ss.serve(ctx, "")
}

// watchOver has the system break a stream whose other end has gone without a word: when
// it answers nothing for keepaliveTimeout, which is asked after so much rest; 0 asks
// nothing.
func (f *framed) watchOver(conn net.Conn, rest time.Duration) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	err := errors.Join(limitUnacknowledged(tcp, keepaliveTimeout), limitUnsent(tcp))
	if rest > 0 {
		// A session's keepalives wait behind what its client has sent before, whose answers may
		// be long.
		err = errors.Join(err, tcp.SetReadBuffer(readBuffer))
	}
	if rest > 0 {
		err = errors.Join(err, tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: rest, Interval: keepaliveTimeout / 3, Count: 3}))
	}
	if err != nil {
		f.log.Debug("a stream is not watched over", "remote", conn.RemoteAddr(), "error", err)
	}
}

// accepted is what Accept gives.
type accepted struct {
	conn net.Conn
	err  error
}

// splitter is a listener of the streams that are no sessions.
type splitter struct {
	net.Listener
	conns chan accepted
	once  sync.Once // of done
	done  chan struct{}
}

// deliver waits until somebody accepts; false if nobody does any more.
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
