package nodetls

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sgkandale/sharelock/internal/opening"
	"github.com/sgkandale/sharelock/internal/seldom"
	"github.com/sgkandale/sharelock/internal/share"
)

const (
	// HandshakeTimeout bounds a handshake.
	HandshakeTimeout = 5 * time.Second
	// maxHandshakes is how many streams of one client port may be in a handshake.
	maxHandshakes = 1024
)

// Listener is a listener of streams whose handshake is done, see [Server.Handshake]. Each
// handshake has a goroutine of its own. Make it with [Server.Listen].
type Listener struct {
	net.Listener
	server  *Server
	refuse  func(net.Conn)
	log     *slog.Logger
	opening *opening.Set
	refused seldom.Log
	results chan accepted
	done    chan struct{}
	work    sync.WaitGroup
	once    sync.Once
}

// accepted is a result of Accept.
type accepted struct {
	conn net.Conn
	err  error
}

// Listen takes over a listener. refuse may answer a stream that has no TLS and must have; the
// deadline of the stream is set, and the stream is closed afterwards.
func (s *Server) Listen(l net.Listener, refuse func(net.Conn), log *slog.Logger) *Listener {
	t := &Listener{
		Listener: l, server: s, refuse: refuse, log: log, opening: opening.New(maxHandshakes), results: make(chan accepted), done: make(chan struct{}),
	}
	t.work.Go(t.accept)
	return t
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.results:
		return a.conn, a.err
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

// Close closes the listener and the streams that were not accepted, and waits for the goroutines.
// It may be called twice.
func (l *Listener) Close() (err error) {
	l.once.Do(func() {
		close(l.done)
		err = l.Listener.Close()
		l.opening.Close()
	})
	l.work.Wait()
	return err
}

func (l *Listener) accept() {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			// The server above knows which errors are temporary, and waits before it accepts again.
			if !l.deliver(accepted{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if _, ok := l.opening.Add(conn, func() { l.work.Go(func() { l.open(conn) }) }); !ok {
			_ = conn.Close()
		}
	}
}

func (l *Listener) deliver(a accepted) bool {
	select {
	case l.results <- a:
		return true
	case <-l.done:
		return false
	}
}

// open does the handshake of a stream and passes the stream to Accept.
func (l *Listener) open(conn net.Conn) {
	defer l.opening.Remove(conn)
	err := conn.SetDeadline(time.Now().Add(HandshakeTimeout))
	var made net.Conn
	if err == nil {
		made, err = l.server.Handshake(conn)
	}
	if errors.Is(err, ErrPlain) && l.refuse != nil {
		l.refuse(made)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err == nil && l.deliver(accepted{conn: made}) {
		return
	}
	if made != nil {
		_ = made.Close() // the registry forgets it
	}
	_ = conn.Close()
	if err != nil {
		l.log.Log(context.Background(), l.level(conn, err), "refused a connection", "remote", conn.RemoteAddr().String(), "error", err)
	}
}

// level returns the level at which a refusal is logged: a warning once a minute for each host, and debug for
// the rest and for connections that end or send nothing, like those of probes.
func (l *Listener) level(conn net.Conn, err error) slog.Level {
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) ||
		!l.refused.Allow(share.Host(conn.RemoteAddr())) {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}
