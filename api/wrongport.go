package api

import (
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// refuseTime is how long the answer to a client at the wrong port may take to be sent.
const refuseTime = time.Second

// answerGRPC makes an HTTP server tell clients of gRPC which port this is. They speak HTTP/2
// without TLS, of which the HTTP API has no use.
func answerGRPC(server *http.Server, wrong error) {
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	next := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.ProtoMajor < 2:
			next.ServeHTTP(w, r)
		case strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
			refuseGRPC(w, wrong)
		default:
			http.Error(w, "this port speaks HTTP/1.1", http.StatusHTTPVersionNotSupported)
		}
	})
}

// refuseGRPC answers a call of gRPC with an error, in headers alone.
func refuseGRPC(w http.ResponseWriter, err error) {
	st := pb.ToStatus(err)
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(int(st.Code())))
	h.Set("Grpc-Message", st.Message())
	if details, merr := proto.Marshal(st.Proto()); merr == nil {
		h.Set("Grpc-Status-Details-Bin", base64.RawStdEncoding.EncodeToString(details))
	}
	w.WriteHeader(http.StatusOK)
}

// WrongPort answers every call of gRPC, of a service that a server does not know, with an
// error. It is for [grpc.UnknownServiceHandler].
func WrongPort(wrong error) grpc.StreamHandler {
	return func(any, grpc.ServerStream) error { return pb.ToStatus(wrong).Err() }
}

// RefuseSession answers the beginning of a session, whose magic was read, at a port that has
// none. It leaves closing the connection to its caller.
func RefuseSession(conn net.Conn, wrong error) error {
	err := conn.SetDeadline(time.Now().Add(refuseTime))
	if err == nil {
		// What is not read makes closing the connection reset it, and the answer may be lost.
		err = pb.ReadHello(conn)
	}
	if err == nil {
		_, err = conn.Write(pb.AppendWrongPort(nil, textOf(wrong)))
	}
	return err
}

// textOf is what an error says beside its kind.
func textOf(err error) string {
	if e, ok := errors.AsType[*sharelock.Error](err); ok {
		return e.Message
	}
	return err.Error()
}

// RefuseSessions wraps the listener of a port that serves no plain sessions. A connection that begins
// like one is answered with the error wrong and closed. No HTTP or gossip stream begins like one.
func RefuseSessions(l net.Listener, wrong error) net.Listener { return refusingListener{l, wrong} }

type refusingListener struct {
	net.Listener
	wrong error
}

// Accept implements net.Listener.
func (l refusingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &refusingConn{Conn: conn, wrong: l.wrong}, nil
}

// refusingConn is a connection whose first bytes are looked at when they are read.
type refusingConn struct {
	net.Conn
	wrong error

	// mu is held while bytes are read, in one goroutine at a time.
	mu sync.Mutex
	// looked: the first bytes were looked at; head are those that were not given yet.
	// Guarded by mu.
	looked bool
	head   []byte
}

// NetConn returns the connection below, as that of [crypto/tls.Conn] does.
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

// look reads until it is known whether a session begins. An error, of a deadline say, may be
// followed by another try.
func (c *refusingConn) look() error {
	for len(c.head) < len(pb.SessionMagic) && string(c.head) == pb.SessionMagic[:len(c.head)] {
		var b [len(pb.SessionMagic)]byte
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
	if string(c.head) == pb.SessionMagic {
		return errors.Join(RefuseSession(c.Conn, c.wrong), io.EOF)
	}
	return nil
}
