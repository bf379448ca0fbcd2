package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/internal/certs"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// With --tls every node has a certificate of its own, and the commands that are printed name the files
// of the authority and of a client. A temporary folder ends with the command.
func TestDevTLS(t *testing.T) {
	for _, dir := range []string{"", filepath.Join(t.TempDir(), "certs")} {
		virtual.Test(t, func(t *testing.T) {
			a := newApp()
			a.signals = make(chan os.Signal, 2)
			nodes := withNodes(a, func(*fakeNode) {})
			code := a.background("dev", "--tls", "--tls-dir", dir)
			synctest.Wait()
			_, ca, _ := strings.Cut(a.out.String(), "export SHARELOCK_TLS_CA=")
			ca, _, _ = strings.Cut(ca, "\n")
			files := filepath.Dir(ca)
			if !strings.Contains(a.out.String(), "curl -s --cacert "+ca+" https://127.0.0.1:") || dir != "" && files != dir {
				t.Errorf("got %s", a.out)
			}
			pem, err := os.ReadFile(ca)
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(pem)
			for i, n := range nodes() {
				pair, err := tls.X509KeyPair(n.cfg.TLS.Cert, n.cfg.TLS.Key)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: certs.NodeName(nodeName(i), n.cfg.Cluster)}); err != nil {
					t.Errorf("node %d: %v", i, err)
				}
			}
			if _, err := tls.LoadX509KeyPair(certs.CertFile(files, "client"), certs.KeyFile(files, "client")); err != nil {
				t.Error(err)
			}
			a.signals <- os.Interrupt
			if got := <-code; got != exit.OK {
				t.Errorf("got exit code %d: %s", got, a.err)
			}
			if _, err := os.Stat(ca); (err == nil) != (dir != "") {
				t.Errorf("the files at the end: %v", err)
			}
		})
	}
	a := newApp()
	dir := t.TempDir()
	writeText(t, filepath.Join(dir, "ca.pem"), "precious")
	a.command(t, exit.Failed, "dev", "--tls-dir", dir)
	if line := oneLineOf(t, a); !strings.Contains(line, "exists and is not overwritten") {
		t.Errorf("got %q", line)
	}
}
