package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/fakenode"
	"github.com/sgkandale/sharelock/internal/certs"
	"github.com/sgkandale/sharelock/internal/virtual"
)

func newCA(t *testing.T) *certs.CA {
	t.Helper()
	ca, err := certs.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// certificate is the certificate of a member that serves a.example, or of a client.
func certificate(t *testing.T, ca *certs.CA, name string, opts ...certs.Option) tls.Certificate {
	t.Helper()
	pair, err := ca.Member(name, "test", []string{name + ".example"}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serverTLS is the configuration of a node, as it has it for all protocols of its port.
func serverTLS(c tls.Certificate, clients *certs.CA) *tls.Config {
	cfg := &tls.Config{Certificates: []tls.Certificate{c}, NextProtos: []string{"h2", "http/1.1", "sharelock/1"}, MinVersion: tls.VersionTLS12}
	if clients != nil {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, clients.Pool()
	}
	return cfg
}

// dialTLS is Dial of a node that wants TLS.
func dialTLS(t *testing.T, f *fakenode.Node, o Options, addr string) (*Client, error) {
	t.Helper()
	begin := time.Now()
	o.Dialer = f.Dial
	c, err := Dial(clocked(t.Context(), func() time.Duration { return time.Since(begin) }), []string{addr}, o)
	if err == nil {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return c, err
}

var bothTransports = map[string]Transport{"plain": TransportPlain, "gRPC": TransportGRPC}

// With TLS everything goes as without it, mutually too, and a token is sent.
func TestTLS(t *testing.T) {
	for name, transport := range bothTransports {
		t.Run(name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				ca := newCA(t)
				accepts := func(token string) bool { return token == "secret" }
				m, _ := startMesh(t, "a.example:1")
				m.set(func() { m.sessions, m.accepts = true, accepts })
				f := &fakenode.Node{Behind: m.dial, TLS: serverTLS(certificate(t, ca, "a"), ca), Accepts: accepts}
				c, err := dialTLS(t, f, Options{
					Transport: transport,
					TLS:       &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{certificate(t, ca, "b")}},
					Token:     func(context.Context) (string, error) { return "secret", nil },
				}, "a.example:1")
				if err != nil {
					t.Fatal(err)
				}
				pair(t, c)
				if _, err := c.Get(t.Context(), "k"); !errors.Is(err, sharelock.ErrNotHeld) { // by gRPC in any case
					t.Error(err)
				}
				if plain := f.Plain.Load() > 0; plain != (transport == TransportPlain) {
					t.Errorf("%d plain sessions", f.Plain.Load())
				}
			})
		})
	}
}

// TLS that cannot work is told at once, with the reason, however long the patience is.
func TestTLSRefused(t *testing.T) {
	ca := newCA(t)
	expired := certs.Valid(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	good := certificate(t, ca, "a")
	for name, tt := range map[string]struct {
		server *tls.Config
		client *tls.Config
		want   string
	}{
		"unknown authority": {serverTLS(good, nil), &tls.Config{RootCAs: newCA(t).Pool()}, "certificate signed by unknown authority"},
		"another name":      {serverTLS(certificate(t, ca, "other"), nil), &tls.Config{RootCAs: ca.Pool()}, "not a.example"},
		"expired":           {serverTLS(certificate(t, ca, "a", expired), nil), &tls.Config{RootCAs: ca.Pool()}, "expired"},
		"a client serves": {
			serverTLS(certificate(t, ca, "a", certs.Usages(x509.ExtKeyUsageClientAuth)), nil), &tls.Config{RootCAs: ca.Pool()}, "incompatible key usage",
		},
		"no certificate":          {serverTLS(good, ca), &tls.Config{RootCAs: ca.Pool()}, "certificate required"},
		"certificate of another":  {serverTLS(good, ca), &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{certificate(t, newCA(t), "a")}}, "unknown certificate authority"},
		"expired certificate":     {serverTLS(good, ca), &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{certificate(t, ca, "b", expired)}}, "expired certificate"},
		"no certificate, TLS 1.2": {serverTLS(good, ca), &tls.Config{RootCAs: ca.Pool(), MaxVersion: tls.VersionTLS12}, "handshake failure"},
		"plain server":            {nil, &tls.Config{RootCAs: ca.Pool()}, "does not speak TLS"},
	} {
		for by, transport := range bothTransports {
			t.Run(name+" "+by, func(t *testing.T) {
				m, _ := startMesh(t, "a.example:1")
				m.set(func() { m.sessions = true })
				f := &fakenode.Node{Behind: m.dial, TLS: tt.server}
				began := time.Now()
				_, err := dialTLS(t, f, Options{Patience: time.Hour, Transport: transport, TLS: tt.client}, "a.example:1")
				if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, ErrUnreachable) && !errors.Is(err, sharelock.ErrWrongPort) {
					t.Errorf("got %v, want %s", err, tt.want)
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("it took %v", took)
				}
			})
		}
	}
}

// The reason is there for programs, too.
func TestTLSErrorType(t *testing.T) {
	ca := newCA(t)
	for by, transport := range bothTransports {
		f := &fakenode.Node{TLS: serverTLS(certificate(t, ca, "a"), nil)}
		_, err := dialTLS(t, f, Options{Transport: transport, TLS: &tls.Config{RootCAs: newCA(t).Pool()}}, "a.example:1")
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
			t.Errorf("%s: %v", by, err)
		}
	}
}

// A server of TLS that knows no sessions by name is called by gRPC.
func TestTLSWithoutSessions(t *testing.T) {
	ca := newCA(t)
	m, _ := startMesh(t, "a.example:1")
	m.set(func() { m.sessions = true })
	cfg := serverTLS(certificate(t, ca, "a"), nil)
	cfg.NextProtos = []string{"h2"}
	c, err := dialTLS(t, &fakenode.Node{Behind: m.dial, TLS: cfg}, Options{TLS: &tls.Config{RootCAs: ca.Pool()}}, "a.example:1")
	if err != nil {
		t.Fatal(err)
	}
	pair(t, c)
}

// One name may be that of all nodes, whatever their addresses are.
func TestTLSServerName(t *testing.T) {
	ca := newCA(t)
	f := &fakenode.Node{TLS: serverTLS(certificate(t, ca, "a"), nil)}
	c, err := dialTLS(t, f, Options{TLS: &tls.Config{RootCAs: ca.Pool(), ServerName: certs.MemberName("test")}}, "192.0.2.1:1")
	if err != nil {
		t.Fatal(err)
	}
	pair(t, c)
}

// LoadTLS is asked at each connection; while it fails the configuration before goes on.
func TestLoadTLS(t *testing.T) {
	ca, next := newCA(t), newCA(t)
	var loads atomic.Int64
	var bad atomic.Bool
	var roots atomic.Pointer[x509.CertPool]
	roots.Store(ca.Pool())
	load := func() (*tls.Config, error) {
		loads.Add(1)
		if bad.Load() {
			return nil, errors.New("half a file")
		}
		return &tls.Config{RootCAs: roots.Load()}, nil
	}
	f := &fakenode.Node{TLS: serverTLS(certificate(t, ca, "a"), nil)}
	server := f.TLS.Clone()
	f.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return server, nil }
	c, err := dialTLS(t, f, Options{LoadTLS: load, OnlyAddrs: true}, "a.example:1")
	if err != nil {
		t.Fatal(err)
	}
	again := func() {
		t.Helper()
		c.nodes[0].session.Reset()
		pair(t, c)
	}
	bad.Store(true)
	again()
	bad.Store(false)
	roots.Store(next.Pool())
	server = serverTLS(certificate(t, next, "a"), nil)
	again()
	if n := loads.Load(); n < 3 {
		t.Errorf("it was called %d times", n)
	}
	bad.Store(true)
	if _, err := dialTLS(t, f, Options{LoadTLS: load, Patience: time.Hour}, "a.example:1"); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "half a file") {
		t.Errorf("without any configuration: %v", err)
	}
	if _, err := Dial(t.Context(), []string{"a:1"}, Options{LoadTLS: load, TLS: &tls.Config{}}); !errors.Is(err, sharelock.ErrInvalidArgument) {
		t.Errorf("with both: %v", err)
	}
}

// A client without TLS is told that the port speaks it. Over a real network a token stays on this
// machine.
func TestTLSOverTCP(t *testing.T) {
	ca := newCA(t)
	f := &fakenode.Node{TLS: serverTLS(certificate(t, ca, "a"), nil), Accepts: func(token string) bool { return token == "secret" }}
	secured := portOf(t, func(conn net.Conn) { f.Serve("a", conn) })
	plain := portOf(t, func(conn net.Conn) { (&fakenode.Node{Accepts: f.Accepts}).Serve("a", conn) })
	token := func(context.Context) (string, error) { return "secret", nil }
	_, err := Dial(t.Context(), []string{secured}, Options{Patience: time.Hour})
	if !errors.Is(err, sharelock.ErrWrongPort) || !strings.Contains(err.Error(), "it speaks TLS") {
		t.Errorf("without TLS: %v", err)
	}
	for addr, cfg := range map[string]*tls.Config{secured: {RootCAs: ca.Pool()}, plain: nil} {
		c, err := Dial(t.Context(), []string{addr}, Options{TLS: cfg, Token: token, OnlyAddrs: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		pair(t, c)
	}
}

// Interceptors do not turn TLS off.
func TestTLSWithDialOptions(t *testing.T) {
	ca := newCA(t)
	m, _ := startMesh(t, "a.example:1")
	m.set(func() { m.sessions = true })
	f := &fakenode.Node{Behind: m.dial, TLS: serverTLS(certificate(t, ca, "a"), nil)}
	c, err := dialTLS(t, f, Options{TLS: &tls.Config{RootCAs: ca.Pool()}, DialOptions: []grpc.DialOption{grpc.WithUserAgent("test")}}, "a.example:1")
	if err != nil {
		t.Fatal(err)
	}
	pair(t, c)
}
