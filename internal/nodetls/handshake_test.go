package nodetls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/certs"
)

func expired() certs.Option {
	return certs.Valid(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
}

func early() certs.Option { return certs.Valid(time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)) }

// badMembers returns certificates with which nobody may act as a member, and the errors about them.
func badMembers(t *testing.T, ca *certs.CA) map[string]struct {
	pair certs.Pair
	want string
} {
	return map[string]struct {
		pair certs.Pair
		want string
	}{
		"none":            {certs.Pair{}, "certificate"},
		"a client":        {clientOf(t, ca), `"ci" (ci) is not one of a member`},
		"expired":         {memberOf(t, ca, expired()), "expired"},
		"not valid yet":   {memberOf(t, ca, early()), "not yet valid"},
		"other authority": {memberOf(t, newCA(t)), "unknown authority"},
		"other cluster":   {memberOf(t, ca, certs.Names("member.red.sharelock", "localhost")), "(member.red.sharelock, localhost) is not one of a member"},
		"addresses only":  {memberOf(t, ca, certs.Names("127.0.0.1")), "(127.0.0.1) is not one of a member"},
		"wildcard":        {memberOf(t, ca, certs.Names("*.blue.sharelock")), "(*.blue.sharelock) is not one of a member"},
		"wrong usage":     {memberOf(t, ca, certs.Usages(x509.ExtKeyUsageCodeSigning)), "incompatible key usage"},
	}
}

func TestMembersRefuseDialers(t *testing.T) {
	ca := newCA(t)
	s, _ := open(t, Memory(material(memberOf(t, ca), ca)))
	for name, tt := range badMembers(t, ca) {
		near, far := pipe(t)
		_, _, clientErr, serverErr := shake(s.Members(false), clientConfig(t, tt.pair, member, ca), near, far)
		if serverErr == nil || !strings.Contains(serverErr.Error(), tt.want) {
			t.Errorf("%s: the member says %v, want %q", name, serverErr, tt.want)
		}
		if clientErr == nil {
			t.Errorf("%s: the dialer was not told", name)
		}
	}
	near, far := pipe(t)
	_, _, clientErr, serverErr := shake(s.Members(false), clientConfig(t, memberOf(t, ca), member, ca), near, far)
	if clientErr != nil || serverErr != nil {
		t.Error("a member:", clientErr, serverErr)
	}
	old := clientConfig(t, memberOf(t, ca), member, ca)
	old.MaxVersion = tls.VersionTLS12
	near, far = pipe(t)
	if _, _, _, err := shake(s.Members(false), old, near, far); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("TLS 1.2 between members: %v", err)
	}
}

func TestDialersRefuseServers(t *testing.T) {
	ca := newCA(t)
	s, log := open(t, Memory(material(memberOf(t, ca), ca)))
	for name, tt := range badMembers(t, ca) {
		if tt.pair.Cert == nil {
			continue
		}
		near, far := pipe(t)
		cert, err := tt.pair.TLS()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = tls.Server(far, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}).Handshake()
			_ = far.Close()
		}()
		d := s.Dialer(func(context.Context, string) (net.Conn, error) { return near, nil }, nil)
		conn, err := d.Dial(t.Context(), "b:1")
		if err == nil || conn != nil || !strings.Contains(err.Error(), "b:1") {
			t.Errorf("%s: %v, %v", name, conn, err)
		}
		if said := log.take(); strings.Count(said, "level=WARN") != 1 || !strings.Contains(said, "b:1") {
			t.Errorf("%s: logged %q", name, said)
		}
	}
}

// The log of a dialer says once why it was refused.
func TestRefusedDialer(t *testing.T) {
	ca := newCA(t)
	s, log := open(t, Memory(material(memberOf(t, ca), ca)))
	other := newCA(t)
	their, _ := open(t, Memory(material(memberOf(t, other), other)))
	their.current.Store(func() *Set { // they do not trust us, but we trust them
		set, err := newSet(material(memberOf(t, ca), ca), member, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		set.memberServer.ClientCAs = other.Pool()
		return set
	}())
	for range 2 {
		near, far := pipe(t)
		go func() {
			if _, err := their.Members(false).Handshake(far); err == nil {
				t.Error("the dialer was let in")
			}
			_ = far.Close()
		}()
		conn, err := s.Dialer(func(context.Context, string) (net.Conn, error) { return near, nil }, nil).Dial(t.Context(), "b:1")
		if err != nil {
			t.Fatal(err) // TLS 1.3: the dialer has finished first
		}
		if _, err = conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), `refuses the certificate of this node, "a" (member.blue.sharelock`) {
			t.Errorf("read: %v", err)
		}
		_ = conn.Close()
	}
	if said := log.take(); strings.Count(said, "level=WARN") != 2 { // one for each dialer
		t.Errorf("logged %q", said)
	}
}

func TestPlainStreams(t *testing.T) {
	ca := newCA(t)
	s, _ := open(t, Memory(material(memberOf(t, ca), ca)))
	for _, tt := range []struct {
		server *Server
		taken  bool
	}{{s.Members(false), false}, {s.Members(true), true}, {s.HTTP(ClientsOn), false}, {s.GRPC(ClientsMutual), false}, {s.GRPC(ClientsMigrate), true}} {
		near, far := pipe(t)
		if _, err := near.Write([]byte("SLLK")); err != nil {
			t.Fatal(err)
		}
		conn, err := tt.server.Handshake(far)
		if tt.taken != (err == nil) || err != nil && !errors.Is(err, ErrPlain) {
			t.Fatalf("taken: %v, want %v", err, tt.taken)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "SLLK" {
			t.Errorf("read %q, %v: want what was sent", got, err)
		}
	}
}

// Clients may show a certificate, or must; a bad one is refused either way.
func TestClients(t *testing.T) {
	ca := newCA(t)
	s, _ := open(t, Memory(material(memberOf(t, ca), ca)))
	for name, tt := range map[string]struct {
		pair       certs.Pair
		on, mutual bool
	}{
		"none":            {certs.Pair{}, true, false},
		"a client":        {clientOf(t, ca), true, true},
		"a member":        {memberOf(t, ca), true, true},
		"expired":         {clientOf(t, ca, expired()), false, false},
		"not valid yet":   {clientOf(t, ca, early()), false, false},
		"other authority": {clientOf(t, newCA(t)), false, false},
		"wrong usage":     {clientOf(t, ca, certs.Usages(x509.ExtKeyUsageServerAuth)), false, false},
	} {
		for mode, want := range map[Clients]bool{ClientsOn: tt.on, ClientsMigrate: tt.on, ClientsMutual: tt.mutual} {
			for _, server := range []*Server{s.HTTP(mode), s.GRPC(mode)} {
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					near, far := pipe(t)
					c := clientConfig(t, tt.pair, "localhost", ca)
					c.MaxVersion = version
					if version == tls.VersionTLS12 && tt.pair.Cert == nil && want {
						c.NextProtos = []string{"h2"}
					}
					_, _, clientErr, serverErr := shake(server, c, near, far)
					if got := clientErr == nil && serverErr == nil; got != want {
						t.Errorf("%s, mode %d, %s: %v, %v", name, mode, tls.VersionName(version), clientErr, serverErr)
					}
				}
			}
		}
	}
	c := clientConfig(t, certs.Pair{}, "localhost", ca)
	c.MaxVersion = tls.VersionTLS11
	c.MinVersion = tls.VersionTLS10
	near, far := pipe(t)
	if _, _, _, err := shake(s.HTTP(ClientsOn), c, near, far); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

// Open streams end when their authority leaves the bundle, and not when a certificate expires.
func TestRevocation(t *testing.T) {
	ca, next := newCA(t), newCA(t)
	f := newFiles(t, material(memberOf(t, ca), ca, next))
	s, log := open(t, f.source())
	var conns []*tls.Conn
	for _, pair := range []certs.Pair{clientOf(t, ca), clientOf(t, next), {}} {
		near, far := pipe(t)
		c, _, clientErr, serverErr := shake(s.GRPC(ClientsOn), clientConfig(t, pair, "localhost", ca), near, far)
		if clientErr != nil || serverErr != nil {
			t.Fatal(clientErr, serverErr)
		}
		conns = append(conns, c)
	}
	if n := s.Stats().Streams; n != 2 {
		t.Errorf("%d streams are kept, want those with a certificate", n)
	}
	f.swap(material(memberOf(t, next), next))
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := conns[0].Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the stream of the authority that has left: %v", err)
	}
	if said := log.take(); strings.Count(said, "closed a connection") != 1 || !strings.Contains(said, `certificate="\"ci\" (ci)"`) {
		t.Errorf("logged %q", said)
	}
	if n := s.Stats().Streams; n != 1 {
		t.Errorf("%d streams are kept", n)
	}
	// A stream whose handshake used an older set.
	near, far := pipe(t)
	old := s.current.Load()
	oldServer := &Server{store: s, config: func(*Set) *tls.Config {
		c := old.clients[clientPort{}].Clone()
		c.ClientCAs = ca.Pool()
		return c
	}, direct: true}
	if c, _, clientErr, _ := shake(oldServer, clientConfig(t, clientOf(t, ca), "localhost", next), near, far); clientErr == nil {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a stream that began before the reload is open")
		}
	}
	if n := s.Stats().Streams; n != 1 {
		t.Errorf("%d streams are kept", n)
	}
}
