package nodetls

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/certs"
)

func TestSetsThatDoNotFit(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	good := memberOf(t, ca)
	for _, tt := range []struct {
		name string
		m    Material
		want string
	}{
		{"the key of another", Material{Cert: good.Cert, Key: memberOf(t, ca).Key, CA: bundle(ca)}, "tls.key_file: tls: private key does not match"},
		{"no certificate", Material{Key: good.Key, CA: bundle(ca)}, "tls.cert_file"},
		{"garbage in the bundle", Material{Cert: good.Cert, Key: good.Key, CA: []byte("-----BEGIN")}, "tls.ca_file: it has no certificate"},
		{"a key in the bundle", Material{Cert: good.Cert, Key: good.Key, CA: ca.Pair().Key}, "tls.ca_file: it has a block of type PRIVATE KEY"},
		{"another authority", material(good, other), "tls.ca_file: x509: certificate signed by unknown authority"},
		{"a client", material(clientOf(t, ca), ca), `"ci" (ci) is not one of a member: it has no DNS name ` + member},
		{"another cluster", material(memberOf(t, ca, certs.Names("member.red.sharelock")), ca), "no DNS name " + member},
		{"a wildcard", material(memberOf(t, ca, certs.Names("*.blue.sharelock")), ca), "no DNS name " + member},
		{"addresses only", material(memberOf(t, ca, certs.Names("10.0.0.1")), ca), "(10.0.0.1) is not one of a member"},
		{"it may not serve", material(memberOf(t, ca, certs.Usages(x509.ExtKeyUsageClientAuth)), ca), "incompatible key usage"},
		{"it may not dial", material(memberOf(t, ca, certs.Usages(x509.ExtKeyUsageServerAuth)), ca), "incompatible key usage"},
	} {
		s, err := Open(Config{Source: Memory(tt.m), Member: member, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v, want %q", tt.name, s, err, tt.want)
		}
	}
	// Without TLS between members the name and the usage of a client do not matter.
	served := memberOf(t, ca, certs.Names("localhost"), certs.Usages(x509.ExtKeyUsageServerAuth))
	if _, err := Open(Config{Source: Memory(material(served, ca)), Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Error(err)
	}
	if _, err := Files("/does/not/exist", "", "")(); err == nil || !strings.Contains(err.Error(), "tls.cert_file: open /does/not/exist") {
		t.Errorf("a file that is missing: %v", err)
	}
}

// A set expires when the first of its certificates does.
func TestExpires(t *testing.T) {
	now := time.Now()
	soon := now.Add(30 * 24 * time.Hour).Truncate(time.Second)
	ca := newCA(t, certs.Valid(now.Add(-time.Hour), soon))
	s, _ := open(t, Memory(material(memberOf(t, ca, certs.Valid(now.Add(-time.Hour), now.Add(time.Hour*9000))), ca)))
	if got := s.Current().Expires(); !got.Equal(soon) {
		t.Errorf("the set ends at %v, want the end of its authority, %v", got, soon)
	}
}

// A set that is wrong only in its time is distinguished from others.
func TestTime(t *testing.T) {
	now := time.Now()
	ca := newCA(t)
	for name, opt := range map[string]certs.Option{
		"expired":       certs.Valid(now.Add(-2*time.Hour), now.Add(-time.Hour)),
		"not valid yet": certs.Valid(now.Add(time.Hour), now.Add(2*time.Hour)),
	} {
		if set, err := newSet(material(memberOf(t, ca, opt), ca), member, time.Now); !errors.Is(err, errTime) || set == nil {
			t.Errorf("%s: %v, %v", name, set, err)
		}
		if _, err := newSet(material(memberOf(t, ca, opt), newCA(t)), member, time.Now); err == nil || errors.Is(err, errTime) {
			t.Errorf("%s, of another authority: %v", name, err)
		}
	}
}

// The bundle vouches for certificates that an authority in it has signed, whatever the time.
func TestVouches(t *testing.T) {
	now := time.Now()
	ca, other := newCA(t), newCA(t)
	s, _ := open(t, Memory(material(memberOf(t, ca), ca)))
	leaf := func(p certs.Pair) []*x509.Certificate {
		c, err := p.TLS()
		if err != nil {
			t.Fatal(err)
		}
		return []*x509.Certificate{c.Leaf}
	}
	if !s.Current().vouches(leaf(clientOf(t, ca, certs.Valid(now.Add(-2*time.Hour), now.Add(-time.Hour))))) {
		t.Error("an expired certificate counts as revoked")
	}
	// Same name, other key.
	if s.Current().vouches(leaf(clientOf(t, other))) {
		t.Error("the bundle vouches for what another authority has signed")
	}
}
