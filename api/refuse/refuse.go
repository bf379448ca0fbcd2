package refuse

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/netconn"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
)

// Bounds of the work for a client that is refused.
const (
	// Patience bounds the time for sending the answer, and the time until the client has read it.
	Patience = time.Second
	// MaxDrained bounds the bytes that are read from its connection after that.
	MaxDrained = 64 << 10
)

// Calls returns a handler for [grpc.UnknownServiceHandler] that answers every call with the
// error.
func Calls(wrong error) grpc.StreamHandler {
	return func(any, grpc.ServerStream) error { return pb.ToStatus(wrong).Err() }
}

// Session refuses a session at a port that does not serve sessions. The magic of the session
// must have been read. The caller closes the connection.
func Session(conn net.Conn, wrong error) error {
	err := conn.SetDeadline(time.Now().Add(Patience))
	if err == nil {
		// Closing a connection with unread data resets it, and then the answer may be lost.
		err = sessionwire.ReadHello(conn)
	}
	if err == nil {
		_, err = conn.Write(sessionwire.AppendWrongPort(nil, textOf(wrong)))
	}
	return err
}

// textOf returns the message of an error without its kind.
func textOf(err error) string {
	if e, ok := errors.AsType[*sharelock.Error](err); ok {
		return e.Message
	}
	return err.Error()
}

// Sessions wraps the listener of a port that serves no plain sessions. A connection that
// begins like one is answered with the error wrong and closed. No HTTP stream begins like one.
func Sessions(l net.Listener, wrong error) net.Listener {
	return refusingListener{l, refused{
		begins: []string{sessionwire.SessionMagic},
		answer: func(conn net.Conn, _ []byte) error { return Session(conn, wrong) },
	}}
}

type refusingListener struct {
	net.Listener
	refused refused
}

// refused describes the clients that a port refuses.
type refused struct {
	// begins lists the beginnings of their connections, each of the length of SessionMagic.
	begins []string
	// tls means that a connection that begins with TLS is refused, too, whatever follows.
	tls bool
	// answer answers a connection whose first bytes were read.
	answer func(conn net.Conn, head []byte) error
}

// Accept implements net.Listener.
func (l refusingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if _, ok := conn.(*tls.Conn); ok { // which net/http must see; see sessionsOverTLS
		return conn, nil
	}
	return &refusingConn{Conn: conn, refused: l.refused}, nil
}

// refusingConn is a connection that checks its first bytes when they are read.
type refusingConn struct {
	net.Conn
	refused refused

	// mu is held while bytes are read.
	mu sync.Mutex
	// looked is set when the first bytes were checked. head has the bytes that were checked but
	// not returned by Read yet. Guarded by mu.
	looked bool
	head   []byte
}

// NetConn returns the underlying connection, like the method of [crypto/tls.Conn].
func (c *refusingConn) NetConn() net.Conn { return c.Conn }

// Read implements net.Conn.
func (c *refusingConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.looked {
		if err := c.look(); err != nil {
			return 0, err
		}
	}
	if len(c.head) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.head)
	c.head = c.head[n:]
	return n, nil
}

// look reads until it is known whether the connection is to be refused. After an error, for example
// of a deadline, it may be called again.
func (c *refusingConn) look() error {
	for !c.known() {
		var b [len(sessionwire.SessionMagic)]byte
		n, err := c.Conn.Read(b[:len(b)-len(c.head)])
		c.head = append(c.head, b[:n]...)
		if err != nil && n == 0 {
			if len(c.head) == 0 {
				return err
			}
			break // the reader gets the buffered bytes first, then the error
		}
	}
	c.looked = true
	if c.refused.tls && BeginsTLS(c.head) || slices.Contains(c.refused.begins, string(c.head)) {
		return errors.Join(c.refused.answer(c.Conn, c.head), io.EOF)
	}
	return nil
}

// known reports whether the bytes that were read tell whether the connection is refused.
func (c *refusingConn) known() bool {
	if len(c.head) == len(sessionwire.SessionMagic) || len(c.head) > 0 && c.refused.tls && BeginsTLS(c.head) {
		return true
	}
	return !slices.ContainsFunc(c.refused.begins, func(magic string) bool { return strings.HasPrefix(magic, string(c.head)) })
}

// drain reads what the other end still sends, for Patience at most, until it has seen the answer
// and closes the connection: closing a connection with unread data resets it, and then the answer may
// be lost.
func drain(conn net.Conn) {
	if conn.SetDeadline(time.Now().Add(Patience)) == nil {
		if tcp := netconn.TCP(conn); tcp != nil {
			_ = tcp.CloseWrite() // so that most clients close the connection sooner
		}
		_, _ = io.CopyN(io.Discard, conn, MaxDrained)
	}
}
