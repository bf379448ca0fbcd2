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
	// suspicious is how long a port may send nothing before it is examined.
	suspicious = 500 * time.Millisecond
	// probeTime bounds one examination, and probeEvery is the least time between two.
	probeTime  = time.Second
	probeEvery = 5 * time.Second
)

// HTTP/2 begins with the client's preface and its SETTINGS frame, here an empty one. The server answers with a
// SETTINGS frame.
const (
	http2Preface  = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	http2Header   = 9
	http2Settings = 4
	http2GoAway   = 7
)

// hail opens a connection and makes the handshake of a session. A port that sends nothing or something else, or
// closes the connection, is examined: if it certainly is not the gRPC port of a node, hail fails at once with
// [sharelock.ErrWrongPort].
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

// look examines the port, at most once in probeEvery. It returns [sharelock.ErrWrongPort] if the port certainly
// does not speak HTTP/2 in the way of this client, with TLS or without it, and nil if it may be a node, or a
// proxy in front of one.
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

// noHTTP2 is a part of the error of a gRPC call if the other end did not begin as an HTTP/2 server does.
const noHTTP2 = "error reading server preface"

// noHandshake is a part of the error of a gRPC call if the TLS handshake failed.
const noHandshake = "authentication handshake failed"

// Diagnose returns a more precise error for a gRPC call that failed with err, or nil: why TLS was refused, or
// that the port is the wrong one.
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

// speaks returns what the port speaks, for people, or "" if that may be HTTP/2 in the way of this client.
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
		return "" // other failures are reported by the TLS handshake
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

// errLooked closes the connection of an examination that has its result.
var errLooked = errors.New("looked")

// isHTTP2 reports whether b begins like the first frame of an HTTP/2 server.
func isHTTP2(b []byte) bool {
	return b[0] == 0 && (b[3] == http2Settings || b[3] == http2GoAway)
}

// The first bytes of a TLS alert.
const (
	tlsAlert = 21
	tlsMajor = 3
)

// speaksTLS is the text for a client without TLS.
const speaksTLS = "it speaks TLS, and this client is not set up for that (Options.TLS; on the command line --tls-ca)"

// triesTLS is speaks for a port that has closed a connection without an answer, as TLS servers may.
func (s *Session) triesTLS(ctx context.Context) string {
	_, err := s.Dialer.Dial(ctx, s.Addr, func(ctx context.Context, conn net.Conn) (net.Conn, error) {
		// Verification is not needed: nothing is sent over this connection.
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

// quoteLine returns the first line of an answer, quoted for people.
func quoteLine(b []byte) string {
	line, _, _ := strings.Cut(string(b), "\n")
	return strconv.Quote(strings.TrimSpace(line))
}
