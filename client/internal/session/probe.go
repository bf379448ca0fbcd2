package session

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/secure"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

const (
	// suspicious is how long a port may say nothing to a client before it is looked at what
	// it speaks.
	suspicious = 500 * time.Millisecond
	// probeTime bounds one look, and probeEvery is the least time between two.
	probeTime  = time.Second
	probeEvery = 5 * time.Second
)

// What HTTP/2 begins with: the client's preface, with empty settings behind it. The server
// answers with settings of its own.
const (
	http2Preface  = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	http2Header   = 9
	http2Settings = 4
	http2GoAway   = 7
)

// hail opens a connection on which the node has taken a session. A port that says nothing,
// or something else, or ends the connection, is looked at: what is no gRPC port of a node for
// sure is [sharelock.ErrWrongPort] at once.
func (s *Session) hail(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	looked := make(chan struct{})
	timer := time.AfterFunc(suspicious, func() {
		defer close(looked)
		if wrong := s.look(ctx); wrong != nil {
			cancel(wrong)
		}
	})
	conn, err := s.Dialer.Dial(ctx, s.Addr, s.greet)
	switch waiting := timer.Stop(); {
	case !waiting:
		if err == nil || ctx.Err() != nil {
			cancel(nil)
		}
		<-looked
	case hungUp(err), errors.Is(err, sessionwire.ErrNoSession):
		if wrong := s.look(ctx); wrong != nil {
			return nil, wrong
		}
	}
	if err == nil {
		return conn, nil
	}
	if wrong := context.Cause(ctx); errors.Is(wrong, sharelock.ErrWrongPort) {
		return nil, wrong
	}
	if wrong, ok := errors.AsType[*sharelock.Error](err); ok && errors.Is(wrong, sharelock.ErrWrongPort) {
		return nil, wrong // of a host with several addresses, perhaps
	}
	return nil, err
}

// hungUp reports whether the other end has ended the connection.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// look finds out whether the port speaks anything but HTTP/2, with TLS or without it as the client does. Nil is that it may
// be a node, or something in front of one; that is not asked again for a while.
func (s *Session) look(ctx context.Context) error {
	s.mu.Lock()
	now := s.Now()
	soon := s.looked != 0 && now < s.looked+probeEvery
	s.mu.Unlock()
	if soon {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	what := s.speaks(ctx)
	if what != "" {
		return &sharelock.Error{Err: sharelock.ErrWrongPort, Message: s.Addr + " is not the gRPC port of a node: " + what}
	}
	s.mu.Lock()
	s.looked = now
	s.mu.Unlock()
	return nil
}

// noHTTP2 is in the error of a call of gRPC if the other end of a connection did not begin as a
// server of HTTP/2 does.
const noHTTP2 = "error reading server preface"

// noHandshake is in the error of a call of gRPC if the handshake of TLS failed.
const noHandshake = "authentication handshake failed"

// Diagnose finds out more if a call of gRPC failed with an error that suggests so: it looks at the
// port, or returns why TLS was refused.
func (s *Session) Diagnose(ctx context.Context, err error) error {
	if status.Code(err) != codes.Unavailable {
		return nil
	}
	if s.TLS.On() {
		if refused := s.Handshake(); refused != nil && strings.Contains(err.Error(), noHandshake) {
			return refused
		}
		if refused := secure.Refused(s.Addr, err); refused != nil {
			return refused
		}
	}
	if text := err.Error(); strings.Contains(text, noHTTP2) || strings.Contains(text, noHandshake) {
		return s.look(ctx)
	}
	return nil
}

// speaks returns what the port speaks if that is not what the client does: HTTP/2, without TLS or
// with it.
func (s *Session) speaks(ctx context.Context) string {
	if s.Opaque {
		return ""
	}
	var head [64]byte
	got := 0
	_, err := s.Dialer.Dial(ctx, s.Addr, func(_ context.Context, conn net.Conn) (net.Conn, error) {
		if _, err := io.WriteString(conn, http2Preface); err != nil {
			return nil, err
		}
		var err error
		if got, err = io.ReadAtLeast(conn, head[:], http2Header); err == nil {
			err = errLooked // which closes the connection
		}
		return nil, err
	})
	if s.TLS.On() {
		if got >= http2Header && isHTTP2(head[:]) {
			return "it does not speak TLS"
		}
		return "" // the handshake tells the rest
	}
	switch b := head[:got]; {
	case got == 0 && hungUp(err):
		return s.triesTLS(ctx)
	case got == 0, got >= http2Header && isHTTP2(b):
		return ""
	case bytes.HasPrefix(b, []byte{tlsAlert, tlsMajor}):
		return speaksTLS
	default:
		return "it answers " + quoteLine(b)
	}
}

// errLooked ends a look that has found out what it wanted.
var errLooked = errors.New("looked")

// isHTTP2 reports whether b begins with the header of a frame that a server begins with.
func isHTTP2(b []byte) bool {
	return b[0] == 0 && (b[3] == http2Settings || b[3] == http2GoAway)
}

// What a message of TLS begins with.
const (
	tlsAlert = 21
	tlsMajor = 3
)

// speaksTLS is said of a port to a client without TLS.
const speaksTLS = "it speaks TLS, and this client is not set up for that (Options.TLS; on the command line --tls-ca)"

// triesTLS is speaks for a port that ends connections that begin otherwise.
func (s *Session) triesTLS(ctx context.Context) string {
	_, err := s.Dialer.Dial(ctx, s.Addr, func(ctx context.Context, conn net.Conn) (net.Conn, error) {
		// Nobody is trusted by it: nothing is said on this connection.
		err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}).HandshakeContext(ctx) //nolint:gosec // see above
		if err == nil {
			err = errLooked
		}
		return nil, err
	})
	_, alert := errors.AsType[tls.AlertError](err)
	remote, ok := errors.AsType[*net.OpError](err)
	if errors.Is(err, errLooked) || alert || ok && remote.Op == "remote error" {
		return speaksTLS
	}
	return ""
}

// quoteLine is the beginning of an answer, for people.
func quoteLine(b []byte) string {
	line, _, _ := strings.Cut(string(b), "\n")
	return strconv.Quote(strings.TrimSpace(line))
}
