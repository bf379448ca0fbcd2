package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/internal/certs"
)

// The commands create files that can be used unchanged, and print the next steps.
func TestTLSCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"tls", "ca", "create", "--dir", dir}, []string{"ca.pem", "ca-key.pem", "Next", "tls cert create --member", "--dir " + dir}},
		{[]string{"tls", "cert", "create", "--dir", dir, "--member", "a", "--cluster", "blue", "--host", "a.example", "--host", "10.0.0.1"}, []string{"a.pem", "Next", "cert_file", "ca.pem"}},
		{[]string{"tls", "cert", "create", "--dir", dir, "--client", "ci"}, []string{"ci.pem", "Next", "--tls-cert"}},
	} {
		a := newApp()
		if code := a.run(t.Context(), tt.args); code != exit.OK {
			t.Fatalf("%q exits with %d: %s", tt.args, code, a.err.String())
		}
		for _, want := range tt.want {
			if !strings.Contains(a.out.String(), want) {
				t.Errorf("%q prints no %q:\n%s", tt.args, want, a.out.String())
			}
		}
	}
	ca, err := os.ReadFile(certs.CertFile(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for name, host := range map[string]string{"a": "member.blue.sharelock", "ci": "ci"} {
		pair, err := tls.LoadX509KeyPair(certs.CertFile(dir, name), certs.KeyFile(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLSRefuses(t *testing.T) {
	dir, empty := t.TempDir(), t.TempDir()
	if code := newApp().run(t.Context(), []string{"tls", "ca", "create", "--dir", dir}); code != exit.OK {
		t.Fatal(code)
	}
	cert := func(args ...string) []string { return append([]string{"tls", "cert", "create", "--dir", dir}, args...) }
	if code := newApp().run(t.Context(), cert("--client", "c")); code != exit.OK {
		t.Fatal(code)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"tls", "ca", "create", "--dir", dir}, exit.Failed, "ca.pem exists and is not overwritten"},
		{cert("--client", "c"), exit.Failed, "c.pem exists and is not overwritten"},
		{cert("--member", "ca"), exit.Failed, "ca.pem exists and is not overwritten"},
		{[]string{"tls", "cert", "create", "--dir", empty, "--client", "c"}, exit.Failed, "tls ca create"},
		{cert(), exit.Usage, "--member"},
		{cert("--member", "a", "--client", "c"), exit.Usage, "want one of them"},
		{cert("--client", "d", "--host", "h"), exit.Usage, "are of members"},
		{cert("--client", "d", "--cluster", "x"), exit.Usage, "are of members"},
		{cert("--client", "member.sharelock.sharelock"), exit.Usage, "only members carry"},
		{cert("--client", "../x"), exit.Usage, "not a DNS name"},
		{cert("--member", "a", "--host", "h:1"), exit.Usage, "host"},
		{cert("--member", "a", "--cluster", "x.y"), exit.Usage, "cluster"},
		{cert("--member", "a", "rest"), exit.Usage, "unknown command"},
	} {
		a := newApp()
		code := a.run(t.Context(), tt.args)
		if said := a.err.String(); code != tt.code || !strings.Contains(said, tt.want) || strings.Count(said, "\n") != 1 {
			t.Errorf("%q exits with %d and says %q, want %d, %q", tt.args, code, said, tt.code, tt.want)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 4 {
		t.Errorf("the files are %v, %v", names, err)
	}
}
