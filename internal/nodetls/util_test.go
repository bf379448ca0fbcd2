package nodetls

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/certs"
)

const member = "member.blue.sharelock"

func newCA(t *testing.T, opts ...certs.Option) *certs.CA {
	t.Helper()
	ca, err := certs.NewCA(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func memberOf(t *testing.T, ca *certs.CA, opts ...certs.Option) certs.Pair {
	t.Helper()
	p, err := ca.Member("a", "blue", nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func clientOf(t *testing.T, ca *certs.CA, opts ...certs.Option) certs.Pair {
	t.Helper()
	p, err := ca.Client("ci", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func bundle(cas ...*certs.CA) (all []byte) {
	for _, ca := range cas {
		all = append(all, ca.Pair().Cert...)
	}
	return all
}

func material(p certs.Pair, cas ...*certs.CA) Material {
	return Material{Cert: p.Cert, Key: p.Key, CA: bundle(cas...)}
}

// logged is a log that can be searched.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// take returns what was logged since the last call.
func (l *logged) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.buf.Reset()
	return l.buf.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func open(t *testing.T, source Source) (*Store, *logged) {
	t.Helper()
	log := new(logged)
	s, err := Open(Config{Source: source, Member: member, Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	return s, log
}

// files are the files of a node in a folder that a symbolic link names, as Kubernetes mounts them.
type files struct {
	t    *testing.T
	root string
	made int
}

func newFiles(t *testing.T, m Material) *files {
	f := &files{t: t, root: t.TempDir()}
	f.swap(m)
	return f
}

func (f *files) path(name string) string { return filepath.Join(f.root, "data", name) }

func (f *files) source() Source {
	return Files(f.path("cert.pem"), f.path("key.pem"), f.path("ca.pem"))
}

// swap replaces all files at once.
func (f *files) swap(m Material) {
	f.t.Helper()
	f.made++
	dir := filepath.Join(f.root, strings.Repeat("x", f.made))
	err := os.Mkdir(dir, 0o700)
	for name, data := range map[string][]byte{"cert.pem": m.Cert, "key.pem": m.Key, "ca.pem": m.CA} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	link := filepath.Join(f.root, "new")
	if err = errors.Join(err, os.Symlink(dir, link), os.Rename(link, filepath.Join(f.root, "data"))); err != nil {
		f.t.Fatal(err)
	}
}

// write replaces one file.
func (f *files) write(name string, data []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), data, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// clientConfig returns the configuration of a client with a certificate; without one if pair is zero.
func clientConfig(t *testing.T, pair certs.Pair, name string, cas ...*certs.CA) *tls.Config {
	t.Helper()
	c := &tls.Config{ServerName: name, RootCAs: x509.NewCertPool(), NextProtos: []string{Protocol}}
	c.RootCAs.AppendCertsFromPEM(bundle(cas...))
	if pair.Cert != nil {
		cert, err := pair.TLS()
		if err != nil {
			t.Fatal(err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil } // also if the server does not accept its authority
	}
	return c
}

// pipe returns both ends of a stream over loopback, because a pipe of package net has no buffer.
func pipe(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // of a test
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	deadline := time.Now().Add(30 * time.Second)
	_, _ = near.SetDeadline(deadline), far.SetDeadline(deadline)
	return near, far
}

// shake connects a client to a server, and returns the errors of both; that of the client includes its first
// read. On success the server has sent "hello".
func shake(s *Server, c *tls.Config, conn, far net.Conn) (client *tls.Conn, server net.Conn, clientErr, serverErr error) {
	served := make(chan struct{})
	go func() {
		defer close(served)
		if server, serverErr = s.Handshake(far); serverErr == nil {
			_, serverErr = server.Write([]byte("hello"))
		}
		if serverErr != nil {
			_ = far.Close()
		}
	}()
	client = tls.Client(conn, c)
	if clientErr = client.HandshakeContext(context.Background()); clientErr == nil {
		_, clientErr = client.Read(make([]byte, 5))
	}
	if clientErr != nil {
		_ = conn.Close()
	}
	<-served
	return client, server, clientErr, serverErr
}
