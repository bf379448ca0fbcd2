// Package secure secures the connections of a client: TLS, and the credential that its calls
// carry.
package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The protocols of a connection, by ALPN.
const (
	ProtoSession = "sharelock/1" // a session without gRPC
	ProtoGRPC    = "h2"
)

// ErrProtocol is wrapped by the error of a handshake with a server of TLS that does not know the
// protocol.
var ErrProtocol = errors.New("the server does not know this protocol")

// Error is the error of a handshake of TLS that one of the two ends has refused: it will not
// succeed when it is repeated.
type Error struct {
	Addr string
	Err  error
}

// Error implements error.
func (e *Error) Error() string {
	if _, ok := errors.AsType[tls.RecordHeaderError](e.Err); ok {
		return fmt.Sprintf("%s does not speak TLS: %v", e.Addr, e.Err)
	}
	return fmt.Sprintf("TLS with %s: %v", e.Addr, e.Err)
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// GRPCStatus makes it a failure of the connection.
func (e *Error) GRPCStatus() *status.Status { return status.New(codes.Unavailable, e.Error()) }

// alertText is in the error of a connection that its other end has ended with an alert of TLS, as
// one does that refuses a certificate.
const alertText = "remote error: tls: "

// noProtocol is the text of the alert of a server that knows none of the protocols offered.
const noProtocol = alertText + "no application protocol"

// Refused returns an *[Error] if err is the error of a connection to addr that one of its ends has
// refused: the other end says so only after the handshake if it refuses a certificate. It also
// recognises that when gRPC has made text of it. Otherwise Refused returns nil.
func Refused(addr string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	_, why, ok := strings.Cut(err.Error(), alertText)
	if !ok {
		return nil
	}
	why, _, _ = strings.Cut(why, `"`)
	return &Error{Addr: addr, Err: errors.New(alertText + why)}
}

// Transport makes connections TLS. It is safe for concurrent use.
type Transport struct {
	fixed *tls.Config
	load  func() (*tls.Config, error)
	warn  func(error)
	// last is what load returned last.
	last atomic.Pointer[tls.Config]
}

// NewTransport returns a transport that uses the configuration, or calls load for one before each
// connection. If both are nil it leaves connections as they are. If load fails, the configuration
// before is used, and warn is called.
func NewTransport(fixed *tls.Config, load func() (*tls.Config, error), warn func(error)) *Transport {
	return &Transport{fixed: fixed, load: load, warn: warn}
}

// On reports whether connections are TLS.
func (t *Transport) On() bool { return t.fixed != nil || t.load != nil }

// Client performs the handshake of a client on a connection to addr, a host and a port. The server
// has to prove that it is the host, unless the configuration names another server. The caller closes
// conn if it fails.
func (t *Transport) Client(ctx context.Context, conn net.Conn, addr, proto string) (net.Conn, error) {
	if !t.On() {
		return conn, nil
	}
	cfg, err := t.config()
	if err != nil {
		return nil, &Error{Addr: addr, Err: err}
	}
	cfg = cfg.Clone()
	cfg.NextProtos = []string{proto}
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	if cfg.ServerName == "" {
		cfg.ServerName = hostOf(addr)
	}
	secured := tls.Client(conn, cfg)
	err = secured.HandshakeContext(ctx)
	switch {
	case err == nil:
		return secured, nil
	case strings.Contains(err.Error(), noProtocol):
		return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	case ctx.Err() != nil || broken(err):
		return nil, fmt.Errorf("handshake of TLS with %s: %w", addr, err)
	default:
		return nil, &Error{Addr: addr, Err: err}
	}
}

// broken reports whether a handshake failed because the connection did.
func broken(err error) bool {
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return true
	}
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, os.ErrDeadlineExceeded, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

func (t *Transport) config() (*tls.Config, error) {
	if t.load == nil {
		return t.fixed, nil
	}
	cfg, err := t.load()
	if err == nil && cfg == nil {
		err = errors.New("there is no configuration")
	}
	if err == nil {
		t.last.Store(cfg)
		return cfg, nil
	}
	if last := t.last.Load(); last != nil {
		t.warn(err)
		return last, nil
	}
	return nil, err
}

// hostOf returns the host that a server at addr has to prove to be.
func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	switch {
	case err != nil:
		return addr
	case host == "":
		return "localhost"
	default:
		return host
	}
}
