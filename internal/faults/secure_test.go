package faults

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/certs"
)

// secureEnv is full or short, set by scripts/secure; without it the tests are skipped.
const secureEnv = "SHARELOCK_SECURE"

// TestSecure runs three processes in three network namespaces, set up by the commands of
// docs/getting-started.md: who may do what, who is refused, and rotations under load.
func TestSecure(t *testing.T) {
	mode := os.Getenv(secureEnv)
	if mode == "" {
		t.Skip("a mesh with certificates in network namespaces: make secure")
	}
	w := newNetwork(t)
	s := newSecureMesh(t, w)
	t.Run("permissions", s.permissions)
	t.Run("refusals", s.refusals)
	t.Run("gossip", s.gossip)
	t.Run("rotations", s.rotations)
	for _, n := range s.nodes {
		n.kill()
	}
	if mode == "full" {
		t.Run("migration", func(t *testing.T) { migration(t, w) })
	}
}

// secureMesh is three nodes with certificates, gossip keys and an auth file.
type secureMesh struct {
	t     *testing.T
	dir   string
	nodes []*node
	ca    *certs.CA
	idp   *issuer
	// tokens holds those of the principals, by name.
	tokens map[string]string
	// rules holds the principals of the auth file; see writeRules.
	rules map[string]string
}

// commands returns the commands of getting-started for three hosts, with the test's addresses, and the
// configuration.
func commands(t *testing.T) (lines []string, config string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/getting-started.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "## Three peers on three hosts, with TLS\n")
	if !found {
		t.Fatal("docs/getting-started.md has no section about three hosts with TLS")
	}
	for i, name := range []string{"a", "b", "c"} {
		text = strings.ReplaceAll(text, name+".example.com", nodeHost(i))
	}
	for _, block := range strings.Split(text, "```sh\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		lines = append(lines, strings.Split(strings.TrimSpace(block), "\n")...)
	}
	_, config, _ = strings.Cut(text, "```yaml\n")
	config, _, _ = strings.Cut(config, "```")
	if len(lines) != 6 || lines[4] != "sharelock serve --config config.yaml" {
		t.Fatalf("want six commands, the fifth starts a node: %q", lines)
	}
	return lines, config
}

// shell runs a command line in the folder of the mesh, with sharelock in PATH.
func shell(dir, line string) (string, error) {
	cmd := exec.Command("sh", "-e", "-c", line)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + filepath.Dir(os.Getenv(binaryEnv)) + ":" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func newSecureMesh(t *testing.T, w *network) *secureMesh {
	t.Helper()
	w.heal()
	s := &secureMesh{t: t, dir: t.TempDir(), idp: newIssuer(t), tokens: map[string]string{}, rules: map[string]string{}}
	lines, config := commands(t)
	for _, line := range lines[:4] {
		if out, err := shell(s.dir, line); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	var err error
	if s.ca, err = certs.ReadCA(filepath.Join(s.dir, "certs")); err != nil {
		t.Fatal(err)
	}
	s.idp.publish(t, filepath.Join(s.dir, "jwks.json"))
	s.rules["me"] = `policies: [cert], certs: ["cn:me"]`
	s.rules["apps"] = `policies: [jwt], jwt: {issuer: "https://idp.test", audience: sharelock, subject: "ci:*", jwks_file: jwks.json}`
	for _, name := range []string{"token", "load", "ops", "leaver"} {
		s.newToken(name)
	}
	s.writeRules(t)
	settings := strings.ReplaceAll(config, "certs/", s.dir+"/certs/") +
		fmt.Sprintf("auth: {file: %s/auth.yaml}\nlog: {level: debug}\n", s.dir)
	for i := range 3 {
		n := newNode(t, i, os.Getenv(binaryEnv), s.dir, settings)
		s.nodes = append(s.nodes, n)
		n.start()
	}
	s.await(t, "the mesh is born", s.whole)
	out, err := shell(s.dir, lines[5])
	if err != nil || !strings.Contains(out, "3 of 3 voters answer") {
		t.Errorf("%s: %v\n%s", lines[5], err, out)
	}
	return s
}

// newToken gives a principal a new token instead of the one it had.
func (s *secureMesh) newToken(name string) {
	token, stored := auth.NewToken()
	policy := map[string]string{"leaver": "token"}[name]
	if policy == "" {
		policy = name
	}
	s.tokens[name] = token
	s.rules[name] = fmt.Sprintf("policies: [%s], tokens: [%q]", policy, stored)
}

// writeRules replaces the auth file.
func (s *secureMesh) writeRules(t *testing.T) {
	t.Helper()
	text := "policies:\n"
	for _, p := range []string{"cert", "token", "jwt"} {
		text += fmt.Sprintf("  %s: [{keys: [%q, \"members\"], verbs: [acquire, read]}]\n", p, p+"/")
	}
	text += "  load: [{keys: [\"load/\", \"held/\"], verbs: [acquire, read]}]\n"
	text += "  ops: [{keys: [\"\"], verbs: [acquire, read, force, admin]}]\nprincipals:\n"
	for name, rule := range s.rules {
		text += fmt.Sprintf("  - {name: %s, %s}\n", name, rule)
	}
	s.replace(t, "auth.yaml", []byte(text))
}

// replace replaces a file atomically, as deployment tools do.
func (s *secureMesh) replace(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := errors.Join(os.WriteFile(path+".new", data, 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// reload tells all nodes to read their files again.
func (s *secureMesh) reload() {
	for _, n := range s.nodes {
		n.signal(syscall.SIGHUP)
	}
}

// await polls until ok.
func (s *secureMesh) await(t *testing.T, what string, ok func(context.Context) bool) time.Duration {
	t.Helper()
	return (&rig{t: t}).await(what, time.Minute, ok)
}

// trusting returns the TLS configuration of a client without a certificate.
func (s *secureMesh) trusting() *tls.Config { return &tls.Config{RootCAs: s.ca.Pool()} } //nolint:gosec // the least version is the library's

// as returns a client of some nodes with the token of a principal.
func (s *secureMesh) as(t *testing.T, name string, nodes ...*node) *client.Client {
	t.Helper()
	return dialSecure(t, client.Options{TLS: s.trusting(), OnlyAddrs: true, Token: func(context.Context) (string, error) { return s.tokens[name], nil }}, nodes...)
}

func dialSecure(t *testing.T, o client.Options, nodes ...*node) *client.Client {
	t.Helper()
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.addr())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, addrs, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() }) //nolint:errcheck // what it holds ends with its TTL
	return c
}

// whole reports whether every node sees three members and serves all that it owns.
func (s *secureMesh) whole(ctx context.Context) bool {
	for _, n := range s.nodes {
		c, err := client.Dial(ctx, []string{n.addr()}, client.Options{
			TLS: s.trusting(), OnlyAddrs: true, Token: func(context.Context) (string, error) { return s.tokens["ops"], nil },
		})
		if err != nil {
			return false
		}
		m, err := c.Mesh(ctx)
		if cerr := c.Close(); err != nil || cerr != nil || !serves(&m, n.name, len(s.nodes)) {
			return false
		}
	}
	return true
}

// serves reports whether a node is one of so many members, and serves all that it owns.
func serves(m *sharelock.MeshState, name string, members int) bool {
	for _, member := range m.Members {
		if member.Name == name && member.Owns == m.Active {
			return len(m.Members) == members
		}
	}
	return false
}

// permissions: a client with a certificate, one with a token and one with a JWT can each do what the auth file
// says, at every node, and nothing else. A client without credentials can do nothing.
func (s *secureMesh) permissions(t *testing.T) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "certs/me.pem"), filepath.Join(s.dir, "certs/me-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	certified := s.trusting()
	certified.Certificates = []tls.Certificate{pair}
	bearer := func(token string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return token, nil }
	}
	for _, tt := range []struct {
		name, principal, prefix string
		options                 client.Options
		refused                 error
	}{
		{"certificate", "me", "cert/", client.Options{TLS: certified}, sharelock.ErrPermissionDenied},
		{"token", "token", "token/", client.Options{TLS: s.trusting(), Token: bearer(s.tokens["token"])}, sharelock.ErrPermissionDenied},
		{"JWT", "apps/ci:runner", "jwt/", client.Options{TLS: s.trusting(), Token: bearer(s.idp.sign(t, "ci:runner", time.Hour))}, sharelock.ErrPermissionDenied},
		{"nobody", "", "", client.Options{TLS: s.trusting()}, sharelock.ErrUnauthenticated},
		{"a wrong token", "", "", client.Options{TLS: s.trusting(), Token: bearer("slk_wrong")}, sharelock.ErrUnauthenticated},
		{"an expired JWT", "", "", client.Options{TLS: s.trusting(), Token: bearer(s.idp.sign(t, "ci:runner", -time.Hour))}, sharelock.ErrUnauthenticated},
		{"a JWT of another subject", "", "", client.Options{TLS: s.trusting(), Token: bearer(s.idp.sign(t, "prod:x", time.Hour))}, sharelock.ErrUnauthenticated},
	} {
		for i, n := range s.nodes {
			tt.options.OnlyAddrs = true
			c := dialSecure(t, tt.options, n)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			for _, prefix := range []string{"cert/", "token/", "jwt/"} {
				key := fmt.Sprintf("%s%d", prefix, i)
				lock, err := c.Acquire(ctx, key, client.Wait(0))
				switch {
				case prefix != tt.prefix:
					if !errors.Is(err, tt.refused) || !strings.Contains(err.Error(), key) && tt.principal != "" || !strings.Contains(err.Error(), tt.principal) {
						t.Errorf("%s: %s at %s: %v", tt.name, key, n.name, err)
					}
				case err != nil:
					t.Errorf("%s: %s at %s: %v", tt.name, key, n.name, err)
				default:
					if err := lock.Release(ctx); err != nil {
						t.Errorf("%s: release of %s: %v", tt.name, key, err)
					}
				}
			}
			cancel()
		}
	}
}
