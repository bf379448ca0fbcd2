package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/internal/certs"
)

// certificates creates an authority and some pairs in a folder.
func certificates(t *testing.T) (dir string, ca *certs.CA) {
	t.Helper()
	dir = t.TempDir()
	ca, err := certs.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.WriteCA(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ci", "other"} {
		p, err := ca.Client(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Write(dir, name); err != nil {
			t.Fatal(err)
		}
	}
	return dir, ca
}

func writeText(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// optionsOf returns the client options that a client command derives from its arguments and environment.
func optionsOf(t *testing.T, environ []string, args ...string) (addrs []string, o client.Options, err error) {
	t.Helper()
	a := newApp()
	a.environ = environ
	r := &remote{app: a.app}
	cmd := a.listCommand()
	cmd.ResetFlags()
	r.addFlags(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return r.options()
}

// A flag overrides the environment, and the environment overrides the context.
func TestAccessPrecedence(t *testing.T) {
	dir, _ := certificates(t)
	home := t.TempDir()
	config := filepath.Join(home, ".config", "sharelock")
	writeText(t, filepath.Join(config, "prod.token"), "of-context\n")
	writeText(t, filepath.Join(dir, "token"), "of-file")
	writeText(t, filepath.Join(config, "contexts.yaml"), fmt.Sprintf(`
prod:
  servers: ["p:1", "q:1"]
  tls_ca: %s/ca.pem
  auth_token_file: prod.token
bare: {servers: ["b:1"]}
`, dir))
	environ := func(more ...string) []string { return append([]string{"HOME=" + home}, more...) }
	for name, tt := range map[string]struct {
		environ, args        []string
		addrs, token, server string
		tls                  bool
	}{
		"nothing":              {environ(), nil, "127.0.0.1:50052", "", "", false},
		"context by flag":      {environ(), []string{"--context", "prod"}, "p:1,q:1", "of-context", "", true},
		"context by variable":  {environ("SHARELOCK_CONTEXT=prod"), nil, "p:1,q:1", "of-context", "", true},
		"another by flag":      {environ("SHARELOCK_CONTEXT=prod"), []string{"--context", "bare"}, "b:1", "", "", false},
		"server by variable":   {environ("SHARELOCK_SERVER=v:1"), []string{"--context", "prod"}, "v:1", "of-context", "", true},
		"server by flag":       {environ("SHARELOCK_SERVER=v:1"), []string{"--context", "prod", "--server", "f:1"}, "f:1", "of-context", "", true},
		"the default as flag":  {environ(), []string{"--context", "prod", "--server", "127.0.0.1:50052"}, "127.0.0.1:50052", "of-context", "", true},
		"token by variable":    {environ("SHARELOCK_AUTH_TOKEN=of-env"), []string{"--context", "prod"}, "p:1,q:1", "of-env", "", true},
		"token by flag":        {environ("SHARELOCK_AUTH_TOKEN=of-env"), []string{"--auth-token", "of-flag"}, "127.0.0.1:50052", "of-flag", "", false},
		"file by flag":         {environ("SHARELOCK_AUTH_TOKEN=of-env"), []string{"--auth-token-file", dir + "/token"}, "127.0.0.1:50052", "of-file", "", false},
		"token over its file":  {environ("SHARELOCK_AUTH_TOKEN_FILE=/none"), []string{"--auth-token", "of-flag"}, "127.0.0.1:50052", "of-flag", "", false},
		"CA by variable":       {environ("SHARELOCK_TLS_CA=" + dir + "/ca.pem"), nil, "127.0.0.1:50052", "", "", true},
		"roots of the system":  {environ(), []string{"--tls"}, "127.0.0.1:50052", "", "", true},
		"name by variable":     {environ("SHARELOCK_TLS_SERVER_NAME=m"), []string{"--tls"}, "127.0.0.1:50052", "", "m", true},
		"no fencing token":     {environ("SHARELOCK_TOKEN=17"), nil, "127.0.0.1:50052", "", "", false},
		"pair, from two sides": {environ("SHARELOCK_TLS_KEY=" + dir + "/ci-key.pem"), []string{"--tls-cert", dir + "/ci.pem"}, "127.0.0.1:50052", "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			addrs, o, err := optionsOf(t, tt.environ, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			token, server := "", ""
			if o.Token != nil {
				if token, err = o.Token(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if o.LoadTLS != nil {
				cfg, err := o.LoadTLS()
				if err != nil {
					t.Fatal(err)
				}
				server = cfg.ServerName
			}
			if got := strings.Join(addrs, ","); got != tt.addrs || token != tt.token || server != tt.server || (o.LoadTLS != nil) != tt.tls {
				t.Errorf("got %s, token %q, name %q, TLS %v", got, token, server, o.LoadTLS != nil)
			}
		})
	}
}

// What cannot work is reported in one line, before any call.
func TestAccessRefuses(t *testing.T) {
	dir, ca := certificates(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	writeText(t, at("empty"), "\n")
	writeText(t, at("bad.pem"), "-----BEGIN CERTIFICATE-----\nx\n")
	home := t.TempDir()
	writeText(t, filepath.Join(home, ".config/sharelock/contexts.yaml"), "a: {servers: [\"a:1\"]}\nb: {servers: [\"b:1\"]}\n")
	expired, err := ca.Client("late", certs.Valid(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	if err := expired.Write(dir, "late"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		environ, args []string
		want          string
	}{
		{nil, []string{"--tls-ca", at("none")}, "--tls-ca: open"},
		{nil, []string{"--tls-ca", at("ci-key.pem")}, "contains no certificate"},
		{nil, []string{"--tls-ca", at("bad.pem")}, "contains no certificate"},
		{nil, []string{"--tls-cert", at("ci.pem")}, "want both or none"},
		{nil, []string{"--tls-key", at("ci-key.pem")}, "want both or none"},
		{nil, []string{"--tls-cert", at("ci.pem"), "--tls-key", at("other-key.pem")}, "private key does not match"},
		{nil, []string{"--tls-cert", at("none"), "--tls-key", at("ci-key.pem")}, "no such file"},
		{[]string{"SHARELOCK_TLS_CERT=" + at("ci.pem")}, nil, "want both or none"},
		{nil, []string{"--auth-token", "a", "--auth-token-file", "b"}, "want one of them"},
		{[]string{"SHARELOCK_AUTH_TOKEN=a", "SHARELOCK_AUTH_TOKEN_FILE=b"}, nil, "want one of them"},
		{nil, []string{"--auth-token-file", at("none")}, "--auth-token-file: open"},
		{nil, []string{"--auth-token-file", at("empty")}, "is empty"},
		{nil, []string{"--context", "a"}, "HOME is not set"},
		{[]string{"HOME=" + dir}, []string{"--context", "a"}, "contexts.yaml: no such file"},
		{[]string{"HOME=" + home}, []string{"--context", "c"}, "which has: a, b"},
		{[]string{"HOME=" + home, "SHARELOCK_CONTEXT=c"}, nil, "SHARELOCK_CONTEXT: there is no context"},
	} {
		a := newApp()
		a.environ = tt.environ
		a.command(t, exit.Usage, append([]string{"list"}, tt.args...)...)
		if said := a.err.String(); !strings.Contains(said, tt.want) {
			t.Errorf("%q, %q: %q, want %q", tt.environ, tt.args, said, tt.want)
		}
		oneLineOf(t, a)
	}
}

// The files are read again for each connection.
func TestAccessFollowsFiles(t *testing.T) {
	dir, _ := certificates(t)
	file := writeText(t, filepath.Join(dir, "token"), "one\n")
	_, o, err := optionsOf(t, nil, "--tls-ca", filepath.Join(dir, "ca.pem"), "--auth-token-file", file)
	if err != nil {
		t.Fatal(err)
	}
	writeText(t, file, "two\n")
	if token, err := o.Token(t.Context()); token != "two" || err != nil {
		t.Errorf("token %q, %v", token, err)
	}
	next, err := certs.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	writeText(t, filepath.Join(dir, "ca.pem"), string(next.Pair().Cert))
	cfg, err := o.LoadTLS()
	if err != nil {
		t.Fatal(err)
	}
	c, err := next.Pair().TLS()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: cfg.RootCAs}); err != nil {
		t.Error(err)
	}
}

func TestWithoutSecrets(t *testing.T) {
	environ := []string{
		"PATH=/bin", "SHARELOCK_AUTH_TOKEN=x", "SHARELOCK_AUTH_TOKEN_FILE=x", "SHARELOCK_TLS_KEY=x", "SHARELOCK_TLS_CERT=x",
		"SHARELOCK_TLS_CA=ca", "SHARELOCK_SERVER=a:1", "SHARELOCK_TOKEN=17", "SHARELOCK_AUTH_TOKENS=mine",
	}
	want := []string{"PATH=/bin", "SHARELOCK_TLS_CA=ca", "SHARELOCK_SERVER=a:1", "SHARELOCK_TOKEN=17", "SHARELOCK_AUTH_TOKENS=mine"}
	if got := withoutSecrets(environ); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestContexts(t *testing.T) {
	home := t.TempDir()
	run := func(code int, args ...string) string {
		t.Helper()
		a := newApp()
		a.environ = []string{"HOME=" + home}
		a.command(t, code, args...)
		return a.out.String() + a.err.String()
	}
	dir := filepath.Join(home, ".config", "sharelock")
	writeText(t, filepath.Join(dir, "contexts.yaml"), "# by hand\nprod: {servers: [\"a:1\"], tls_ca: ca.pem, tls_server_name: x}\ntest: {servers: [\"b:1\"], tls: true}\n")
	if got := run(exit.Failed, "context", "show"); !strings.Contains(got, "no context is in use") {
		t.Error(got)
	}
	run(exit.Usage, "context", "use", "none")
	run(exit.OK, "context", "use", "prod")
	if got := run(exit.OK, "context", "list"); !strings.Contains(got, "*  prod") || strings.Contains(got, "*  test") {
		t.Error(got)
	}
	if got := run(exit.OK, "context", "show"); !strings.Contains(got, "tls_ca: "+filepath.Join(dir, "ca.pem")) || !strings.Contains(got, "tls_server_name: x\n") {
		t.Error(got)
	}
	if got := run(exit.OK, "context", "show", "test"); !strings.Contains(got, "tls: true") {
		t.Error(got)
	}
	if addrs, _, err := optionsOf(t, []string{"HOME=" + home, "SHARELOCK_CONTEXT=test"}); err != nil || addrs[0] != "b:1" {
		t.Errorf("%v, %v", addrs, err)
	}
	run(exit.OK, "context", "use", "-")
	run(exit.OK, "context", "use", "-")
	if addrs, _, err := optionsOf(t, []string{"HOME=" + home}); err != nil || addrs[0] != defaultServer {
		t.Errorf("%v, %v", addrs, err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("the files are %v, %v", names, err)
	}
}

func TestBadContexts(t *testing.T) {
	for text, want := range map[string]string{
		"a: b: c":                      "",
		"a: 1":                         "a: want servers",
		"a: {server: x}":               "a.server: is not a setting",
		"a: {servers: x}":              "a.servers: want a list",
		"a: {servers: []}":             "a.servers: want a list",
		"a: {servers: [1]}":            "a.servers: want a list",
		"a: {tls: maybe}":              "a.tls: want true or false",
		"a: {tls_ca: 1}":               "a.tls_ca: want text",
		"a: {tls_ca: \"\"}":            "a.tls_ca: want text",
		"a: {auth_token: secret}":      "a.auth_token: is not a setting",
		"a: {\"\": x}":                 "is not a setting",
		"- a":                          "",
		"a: {auth_token_file: [a, b]}": "a.auth_token_file: want text",
		"a: {tls_server_name: {x: 1}}": "a.tls_server_name: want text",
	} {
		if _, err := parseContexts([]byte(text), "/d"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
