package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/certs"
)

func newCA(t *testing.T, opts ...certs.Option) *certs.CA {
	t.Helper()
	ca, err := certs.NewCA(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func leaf(t *testing.T) func(p certs.Pair, err error) *x509.Certificate {
	return func(p certs.Pair, err error) *x509.Certificate {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.TLS()
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf
	}
}

// verify checks a certificate as the other end of a connection does.
func verify(ca *certs.CA, c *x509.Certificate, name string, usage x509.ExtKeyUsage) error {
	_, err := c.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func TestMember(t *testing.T) {
	ca := newCA(t)
	c := leaf(t)(ca.Member("a", "blue", []string{"a.example", "10.0.0.1", "*.mesh.example"}))
	for _, name := range []string{
		"member.blue.sharelock", "a.member.blue.sharelock", "localhost", "127.0.0.1", "::1", "a.example", "10.0.0.1", "x.mesh.example",
	} {
		if err := verify(ca, c, name, x509.ExtKeyUsageServerAuth); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"member.green.sharelock", "b.member.blue.sharelock", "b.example", "10.0.0.2"} {
		if err := verify(ca, c, name, x509.ExtKeyUsageServerAuth); err == nil {
			t.Errorf("the certificate is valid for %s", name)
		}
	}
	if err := verify(ca, c, certs.MemberName("blue"), x509.ExtKeyUsageClientAuth); err != nil {
		t.Error("a member dials:", err)
	}
	if err := verify(newCA(t), c, "localhost", x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("another authority vouches for the certificate")
	}
}

func TestClient(t *testing.T) {
	ca := newCA(t)
	c := leaf(t)(ca.Client("ops.example"))
	if c.Subject.CommonName != "ops.example" || len(c.DNSNames) != 1 || c.DNSNames[0] != "ops.example" {
		t.Errorf("the names are %q and %q", c.Subject.CommonName, c.DNSNames)
	}
	if err := verify(ca, c, "ops.example", x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	if err := verify(ca, c, "ops.example", x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("a client may serve")
	}
	if err := verify(ca, c, certs.MemberName("sharelock"), x509.ExtKeyUsageClientAuth); err == nil {
		t.Error("a client may act as a member")
	}
}

func TestValidity(t *testing.T) {
	ca := newCA(t)
	c := leaf(t)(ca.Client("c"))
	if back := time.Since(c.NotBefore); back < 24*time.Hour-time.Second {
		t.Errorf("the certificate is dated back only %v", back)
	}
	if year := time.Until(c.NotAfter); year < 364*24*time.Hour || year > 366*24*time.Hour {
		t.Errorf("the certificate is valid for %v", year)
	}
	if years := time.Until(ca.Expires()); years < 4*365*24*time.Hour {
		t.Errorf("the authority is valid for %v", years)
	}
	// A certificate does not outlive its authority.
	soon := time.Now().Add(time.Hour)
	short := newCA(t, certs.Valid(time.Now().Add(-time.Hour), soon))
	if c := leaf(t)(short.Client("c")); c.NotAfter.After(soon) {
		t.Errorf("the certificate is valid until %v, its authority until %v", c.NotAfter, soon)
	}
}

func TestOptions(t *testing.T) {
	ca := newCA(t)
	expired := leaf(t)(ca.Member("a", "x", nil, certs.Valid(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))))
	if err := verify(ca, expired, "localhost", x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("an expired certificate is valid")
	}
	other := leaf(t)(ca.Member("a", "x", nil, certs.Names("b", "10.0.0.9"), certs.Usages(x509.ExtKeyUsageClientAuth)))
	if err := verify(ca, other, "10.0.0.9", x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	if verify(ca, other, "localhost", x509.ExtKeyUsageClientAuth) == nil || verify(ca, other, "b", x509.ExtKeyUsageServerAuth) == nil {
		t.Error("the names and usages are not replaced")
	}
}

func TestBadNames(t *testing.T) {
	ca := newCA(t)
	client := func(name string) error { _, err := ca.Client(name); return err }
	member := func(name, cluster string, hosts ...string) error {
		_, err := ca.Member(name, cluster, hosts)
		return err
	}
	for _, tt := range []struct {
		what string
		err  error
		want string
	}{
		{"no client name", client(""), "client name"},
		{"a path", client("../ca"), "client name"},
		{"a space", client("a b"), "client name"},
		{"a long label", client(strings.Repeat("a", 64)), "client name"},
		{"a long name", client(strings.Repeat("a.", 33)), "at most 64"},
		{"a client as a member", client("member.sharelock.sharelock"), "only members"},
		{"a client as a named member", client("a.Member.x.shareLock"), "only members"},
		{"no member name", member("", "x"), "member name"},
		{"no cluster", member("a", ""), "cluster"},
		{"a cluster of two labels", member("a", "x.y"), "cluster"},
		{"a cluster with a space", member("a", "my mesh"), "cluster"},
		{"no host", member("a", "x", ""), "host"},
		{"a host with a port", member("a", "x", "h:1"), "host"},
		{"another member as host", member("a", "x", "b.member.x.sharelock"), "host"},
		{"all members as host", member("a", "x", "*.y.sharelock"), "host"},
		{"the long name of a member", member(strings.Repeat("a.", 31)+"a", strings.Repeat("x", 63)), ""},
	} {
		if tt.want == "" && tt.err != nil || tt.want != "" && (tt.err == nil || !strings.Contains(tt.err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.what, tt.err, tt.want)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t)
	if err := ca.WriteCA(dir); err != nil {
		t.Fatal(err)
	}
	read, err := certs.ReadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := read.Member("a", "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(dir, "a"); err != nil {
		t.Fatal(err)
	}
	c, err := tls.LoadX509KeyPair(certs.CertFile(dir, "a"), certs.KeyFile(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(ca, c.Leaf, "localhost", x509.ExtKeyUsageServerAuth); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"ca-key.pem", "a-key.pem"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, st.Mode(), err)
		}
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if len(names) != 4 || len(hidden) != 0 {
		t.Errorf("the files are %q and %q", names, hidden)
	}
}

func TestNeverOverwrites(t *testing.T) {
	for _, name := range []string{"ca.pem", "ca-key.pem"} {
		dir := t.TempDir()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := newCA(t).WriteCA(dir)
		if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
		if b, _ := os.ReadFile(file); string(b) != "precious" {
			t.Errorf("%s is now %q", name, b)
		}
		if names, _ := os.ReadDir(dir); len(names) != 1 {
			t.Errorf("%s: the files are %v", name, names)
		}
	}
}

func TestBadCA(t *testing.T) {
	ca := newCA(t)
	client, err := ca.Client("c")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		pair certs.Pair
		want string
	}{
		{"a leaf", client, "not one of an authority"},
		{"another key", certs.Pair{Cert: ca.Pair().Cert, Key: client.Key}, "does not match"},
		{"no certificate", certs.Pair{Key: client.Key}, "certificate"},
		{"no key", certs.Pair{Cert: ca.Pair().Cert}, "key"},
		{"garbage", certs.Pair{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), Key: client.Key}, "x509"},
	} {
		dir := t.TempDir()
		if err := tt.pair.Write(dir, "ca"); err != nil {
			t.Fatal(err)
		}
		if _, err := certs.ReadCA(dir); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := certs.ReadCA(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a folder without an authority:", err)
	}
}
