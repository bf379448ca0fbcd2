package faults

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/certs"
)

// jwtLife is how long each JWT of the long session is valid. noticed is how long a change of a file may take
// to have an effect, with some time for a busy machine.
const (
	jwtLife = 15 * time.Second
	noticed = 12 * time.Second
)

// credentials are those of the innocents. They change while connections are open.
type credentials struct {
	mu    sync.Mutex
	roots *x509.CertPool
	token string
}

func (c *credentials) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *credentials) loadTLS() (*tls.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &tls.Config{RootCAs: c.roots}, nil //nolint:gosec // the least version is the library's
}

func (c *credentials) bearer(context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token, nil
}

// rotations change everything that can be changed, under load on all nodes. No other call fails, and no lock
// is lost.
func (s *secureMesh) rotations(t *testing.T) {
	own := &credentials{roots: s.ca.Pool(), token: s.tokens["load"]}
	var clients []*client.Client
	for i := range s.nodes {
		clients = append(clients, dialSecure(t, client.Options{LoadTLS: own.loadTLS, Token: own.bearer}, append(s.nodes[i:len(s.nodes):len(s.nodes)], s.nodes[:i]...)...))
	}
	// A session with a JWT that is replaced again and again.
	long := dialSecure(t, client.Options{LoadTLS: own.loadTLS, Token: func(context.Context) (string, error) {
		return s.idp.sign(t, "ci:long", jwtLife), nil
	}}, s.nodes...)
	kept, err := long.Acquire(t.Context(), "jwt/long", client.TTL(rotationTTL))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	in := newInnocents(t, clients...)
	defer in.end()

	s.changeCertificates(t, s.ca)
	in.check(t, "new certificates of the nodes")
	s.changeAuthority(t, own)
	in.check(t, "a new authority")
	s.changeGossipKeys(t)
	in.check(t, "new gossip keys")
	s.changeToken(t, own)
	in.check(t, "a new token")
	s.revoke(t)
	in.check(t, "a principal was revoked")
	if rest := 2*jwtLife - time.Since(began); rest > 0 {
		<-time.After(rest)
	}
	if err := kept.Err(); err != nil {
		t.Errorf("the lock of the session with a JWT was lost after %v: %v", time.Since(began), err)
	}
	if _, err := long.Get(t.Context(), "jwt/long"); err != nil {
		t.Errorf("the session with a JWT: %v", err)
	}
	s.await(t, "the mesh is whole", s.whole)
}

// changeCertificates gives the nodes a new certificate of an authority, and returns when all use it.
func (s *secureMesh) changeCertificates(t *testing.T, ca *certs.CA) {
	t.Helper()
	var hosts []string
	for _, n := range s.nodes {
		hosts = append(hosts, n.host)
	}
	pair, err := ca.Member("peers", "sharelock", hosts)
	if err != nil {
		t.Fatal(err)
	}
	// A node that reads between the two writes keeps what it has.
	s.replace(t, "certs/peers.pem", pair.Cert)
	s.replace(t, "certs/peers-key.pem", pair.Key)
	s.reload()
	want, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	s.await(t, "all nodes show the new certificate", func(context.Context) bool {
		for _, n := range s.nodes {
			conn, err := tls.Dial("tcp", n.host+":50051", &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it looks at the certificate itself
			if err != nil {
				return false
			}
			shown := conn.ConnectionState().PeerCertificates[0]
			if err := conn.Close(); err != nil || !shown.Equal(want.Leaf) {
				return false
			}
		}
		return true
	})
}

// changeAuthority replaces the authority: first trust both, then new certificates, then only the new one.
func (s *secureMesh) changeAuthority(t *testing.T, own *credentials) {
	t.Helper()
	next, err := certs.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	both := append(append([]byte(nil), s.ca.Pair().Cert...), next.Pair().Cert...)
	pool := s.ca.Pool()
	pool.AppendCertsFromPEM(next.Pair().Cert)
	own.set(func() { own.roots = pool })
	s.bundle(t, both)
	s.changeCertificates(t, next)
	own.set(func() { own.roots = next.Pool() })
	old := s.ca
	s.ca = next
	s.bundle(t, next.Pair().Cert)
	// A certificate that the old authority has signed is no longer accepted.
	pair, err := old.Client("me")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range s.nodes {
		told, _ := s.meet(t, stranger{pair: &pair}, n.host+":50051", "GET /healthz HTTP/1.0\r\n\r\n", n.host, "http/1.1")
		if !strings.Contains(told, "remote error: tls: ") {
			t.Errorf("%s takes a certificate of the old authority: %q", n.name, told)
		}
	}
}

// bundle replaces the bundle of authorities, and returns when all nodes use it.
func (s *secureMesh) bundle(t *testing.T, data []byte) {
	t.Helper()
	const words = "new certificates are used"
	before := make([]int, len(s.nodes))
	for i, n := range s.nodes {
		before[i] = len(linesOf(t, n, words))
	}
	s.replace(t, "certs/ca.pem", data)
	s.reload()
	s.await(t, "all nodes have the bundle", func(context.Context) bool {
		for i, n := range s.nodes {
			if len(linesOf(t, n, words)) == before[i] {
				return false
			}
		}
		return true
	})
}

// keyring runs sharelock keyring list.
func (s *secureMesh) keyring(t *testing.T) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "ops.token"), []byte(s.tokens["ops"]), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := shell(s.dir, fmt.Sprintf("sharelock keyring list --server %s --tls-ca certs/ca.pem --auth-token-file ops.token", s.nodes[0].addr()))
	if err != nil {
		t.Fatal(err, out)
	}
	return out
}

// changeGossipKeys replaces the key in the file of all nodes, in three steps.
func (s *secureMesh) changeGossipKeys(t *testing.T) {
	t.Helper()
	const file = "certs/gossip.keys"
	old, err := os.ReadFile(filepath.Join(s.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	next, err := shell(s.dir, "sharelock keyring generate")
	if err != nil {
		t.Fatal(err, next)
	}
	for _, step := range []struct {
		keys string
		want int
	}{{string(old) + next, 2}, {next + string(old), 2}, {next, 1}} {
		s.replace(t, file, []byte(step.keys))
		s.reload()
		s.await(t, "all nodes have the keys of the file", func(context.Context) bool {
			return strings.Count(s.keyring(t), "[3/3]") >= step.want
		})
	}
}

// changeToken replaces the token of the load: first both are valid, then the clients change, then only the
// new one is.
func (s *secureMesh) changeToken(t *testing.T, own *credentials) {
	t.Helper()
	old, rule := s.tokens["load"], s.rules["load"]
	s.newToken("load")
	stored := func(rule string) string { return rule[strings.Index(rule, "[\"")+1 : strings.LastIndex(rule, "]")] }
	next := s.rules["load"]
	s.rules["load"] = fmt.Sprintf("policies: [load], tokens: [%s, %s]", stored(rule), stored(next))
	s.writeRules(t)
	s.reload()
	s.await(t, "the new token is taken", func(ctx context.Context) bool { return s.may(ctx, s.tokens["load"], "load/x", nil) })
	own.set(func() { own.token = s.tokens["load"] })
	s.rules["load"] = next
	s.writeRules(t)
	s.reload()
	s.await(t, "the old token is refused", func(ctx context.Context) bool { return s.may(ctx, old, "load/x", sharelock.ErrUnauthenticated) })
}

// may reports whether all nodes answer a read with this token with want.
func (s *secureMesh) may(ctx context.Context, token, key string, want error) bool {
	for _, n := range s.nodes {
		c, err := client.Dial(ctx, []string{n.addr()}, client.Options{
			TLS: s.trusting(), OnlyAddrs: true, Token: func(context.Context) (string, error) { return token, nil }, Retry: client.Retry{},
		})
		if err == nil {
			_, err = c.Get(ctx, key)
			err = errors.Join(err, c.Close())
		}
		if want == nil && err != nil && !errors.Is(err, sharelock.ErrNotHeld) || want != nil && !errors.Is(err, want) {
			return false
		}
	}
	return true
}

// revoke removes a principal from the file without telling the nodes. Soon the principal can do nothing at
// any node, and its holds are not renewed any more.
func (s *secureMesh) revoke(t *testing.T) {
	t.Helper()
	c := s.as(t, "leaver", s.nodes...)
	lock, err := c.Acquire(t.Context(), "token/revoked", client.TTL(rotationTTL))
	if err != nil {
		t.Fatal(err)
	}
	delete(s.rules, "leaver")
	s.writeRules(t)
	began := time.Now()
	s.await(t, "the principal is refused", func(ctx context.Context) bool {
		return s.may(ctx, s.tokens["leaver"], "token/x", sharelock.ErrUnauthenticated)
	})
	took := time.Since(began)
	if t.Logf("a principal was revoked at all nodes after %v", took.Round(time.Millisecond)); took > noticed {
		t.Errorf("it took %v until a principal was revoked at all nodes, want %v", took, noticed)
	}
	check := s.as(t, "ops", s.nodes...)
	s.await(t, "its lock has ended", func(ctx context.Context) bool {
		_, err := check.Get(ctx, lock.Key())
		return errors.Is(err, sharelock.ErrNotHeld)
	})
	if lock.Err() == nil {
		t.Error("the client of a revoked principal believes to hold its lock")
	}
}
