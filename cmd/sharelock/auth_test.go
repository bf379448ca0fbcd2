package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/mesh"
)

// newToken creates a token with the command, and returns it with the line for the file.
func newToken(t *testing.T, principal string) (token, line string) {
	t.Helper()
	a := newApp()
	a.command(t, exit.OK, "auth", "token", "create", "--principal", principal, "--quiet")
	token, line = strings.TrimSpace(a.out.String()), a.err.String()
	if !strings.HasPrefix(token, "slk_") || strings.Contains(line, token) {
		t.Fatalf("got %q, %q", token, line)
	}
	return token, line
}

// authFile writes an auth file and returns its path.
func authFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTokenCreate(t *testing.T) {
	a := newApp()
	a.command(t, exit.OK, "auth", "token", "create", "--principal", "ci")
	text := a.out.String()
	if tokens := regexp.MustCompile(`slk_\w+`).FindAllString(text, -1); len(tokens) != 1 || !strings.Contains(text, `{name: ci, policies: [], tokens: ["sha256:`) {
		t.Errorf("got\n%s", text)
	}
	for _, bad := range []string{"", "a/b", "a b"} {
		a := newApp()
		a.command(t, exit.Usage, "auth", "token", "create", "--principal", bad)
		oneLineOf(t, a)
	}
}

func TestAuthCheck(t *testing.T) {
	_, line := newToken(t, "ci")
	file := authFile(t, "anonymous: [r]\npolicies:\n  r: [{keys: [\"ci/\"], verbs: [read]}]\n  a: [{keys: [\"\"], verbs: [admin]}]\nprincipals:\n"+
		strings.Replace(line, "policies: []", "policies: [r, a]", 1))
	bad := authFile(t, "polices: {}")
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--file", file}, exit.OK, "is good, hash "},
		{[]string{"--file", file, "--as", "ci", "read", "ci/x"}, exit.OK, `allowed by policy r: "ci/"`},
		{[]string{"--file", file, "--as", "anonymous", "read", "ci/x"}, exit.OK, "allowed"},
		{[]string{"--file", file, "--as", "ci", "admin"}, exit.OK, "allowed"},
		{[]string{"--file", file, "--as", "ci", "acquire", "ci/x"}, exit.Failed, `a policy of ci with {keys: ["ci/"], verbs: [acquire]}`},
		{[]string{"--file", file, "--as", "anonymous", "read", "x"}, exit.Failed, "unauthenticated"},
		{[]string{"--file", file, "--as", "nobody", "read", "x"}, exit.Failed, `there is no principal "nobody"`},
		{[]string{"--file", bad}, exit.Failed, `auth.yaml:1: unknown key "polices"`},
		{[]string{"--file", "none"}, exit.Failed, "none"},
		{[]string{"--file", file, "--as", "ci", "write", "x"}, exit.Usage, `"write" is no verb`},
		{[]string{"--file", file, "--as", "ci", "read"}, exit.Usage, "name the key"},
		{[]string{"--file", file, "--as", "ci"}, exit.Usage, "give both"},
		{[]string{"--file", file, "read", "x"}, exit.Usage, "give both"},
		{nil, exit.Usage, "--file"},
	} {
		a := newApp()
		a.command(t, test.code, append([]string{"auth", "check"}, test.args...)...)
		if got := a.out.String() + a.err.String(); !strings.Contains(got, test.want) {
			t.Errorf("%v: got %s, want %s", test.args, got, test.want)
		}
	}
}

// A real node with an auth file: what the commands may do without a token, with one, and after a change of
// the file.
func TestAuthOfANode(t *testing.T) {
	token, line := newToken(t, "ci")
	text := "policies:\n  ci: [{keys: [\"ci/\"], verbs: [acquire, read]}]\nprincipals:\n" + strings.Replace(line, "policies: []", "policies: [ci]", 1)
	file := authFile(t, text)
	cfg := mesh.DefaultConfig()
	cfg.Name, cfg.DataDir, cfg.Found, cfg.Lease, cfg.Partitions = "a", "", true, 200*time.Millisecond, 8
	cfg.HTTPListen, cfg.GRPCListen, cfg.PeerListen, cfg.GossipListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Auth.File = file
	n, err := mesh.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if err := n.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	run := func(code int, want string, args ...string) {
		t.Helper()
		a := newApp()
		a.environ = []string{"SHARELOCK_SERVER=" + n.Addrs().GRPC, "PATH=" + os.Getenv("PATH")}
		a.command(t, code, args...)
		if got := a.out.String() + a.err.String(); !strings.Contains(got, want) {
			t.Errorf("%v: got %s, want %s", args, got, want)
		}
	}
	with := "--auth-token=" + token
	run(exit.OK, "anonymous", "auth", "whoami")
	run(exit.OK, "ci/*", "auth", "whoami", with)
	run(exit.Failed, "unauthenticated", "get", "ci/x")
	run(exit.OK, "ci/x", "acquire", "ci/x", with)
	run(exit.OK, "ci", "get", "ci/x", with)
	run(exit.Failed, `principal "ci" may not acquire "prod/x"`, "acquire", "prod/x", with)
	run(exit.Failed, "administrators", "leave", with)
	if err := os.WriteFile(file, fmt.Appendf(nil, "%s", strings.Replace(text, `"ci/"`, `"prod/"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.Reload(); err != nil {
		t.Fatal(err)
	}
	run(exit.OK, "prod/x", "acquire", "prod/x", with)
	run(exit.Failed, `may not read "ci/x"`, "get", "ci/x", with)
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.Reload(); err == nil || !strings.Contains(err.Error(), "auth.file") {
		t.Errorf("a bad file: %v", err)
	}
	run(exit.OK, "prod/x", "get", "prod/x", with)
}
