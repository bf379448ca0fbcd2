package cluster_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// jwtLife is how long the JWTs of these tests are valid: many TTLs, but less than the usual hour,
// because virtual time is not free.
const jwtLife = 3 * time.Minute

const jwtAuthFile = `policies:
  all: [{keys: [""], verbs: [acquire, read]}]
principals:
  - {name: apps, policies: [all], jwt: {issuer: "https://idp.test", audience: sharelock, subject: "*", jwks_file: jwks.json}}
`

// jwtIssuer signs JWTs, as an identity provider does, and counts them.
type jwtIssuer struct {
	key  ed25519.PrivateKey
	made atomic.Int64
}

// newJWTIssuer writes the auth file, with the issuer's keys beside it, and returns its path.
func newJWTIssuer(t *testing.T) (*jwtIssuer, string) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	must(t, err)
	keys, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k", "x": base64.RawURLEncoding.EncodeToString(public),
	}}})
	must(t, err)
	file := filepath.Join(t.TempDir(), "auth.yaml")
	must(t, os.WriteFile(filepath.Join(filepath.Dir(file), "jwks.json"), keys, 0o600))
	must(t, os.WriteFile(file, []byte(jwtAuthFile), 0o600))
	return &jwtIssuer{key: key}, file
}

// sign returns a JWT for a subject, valid for jwtLife from now.
func (i *jwtIssuer) sign(subject string) (string, error) {
	i.made.Add(1)
	head, err := json.Marshal(map[string]any{"alg": "EdDSA", "kid": "k"})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(map[string]any{
		"iss": "https://idp.test", "aud": "sharelock", "sub": subject, "iat": time.Now().Unix(), "exp": time.Now().Add(jwtLife).Unix(),
	})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(i.key, []byte(text))), nil
}

// rotated returns a Token callback that returns a new JWT each time.
func (i *jwtIssuer) rotated(subject string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return i.sign(subject) }
}

// jwtScene is a mesh whose callers must have a JWT of the issuer.
func jwtScene(t *testing.T) (*cluster.Cluster, *jwtIssuer) {
	t.Helper()
	issuer, file := newJWTIssuer(t)
	c := cluster.Start(inRAM(t), cluster.Options{
		Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax,
		Configure: func(_ int, cfg *mesh.Config) { cfg.Auth = mesh.Auth{File: file, AllowPlaintextTokens: true} },
	})
	return c, issuer
}

func dialWithToken(ctx context.Context, t *testing.T, c *cluster.Cluster, token func(context.Context) (string, error)) *client.Client {
	t.Helper()
	cl, err := c.Dial(ctx, client.Options{Token: token, AllowPlaintextTokens: true, Patience: time.Minute}, 0, 1, 2)
	must(t, err)
	return cl
}

// A session outlives its JWT: the client asks for the next one in time, and its locks and calls are
// not affected.
func TestJWTReplacedInASession(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, issuer := jwtScene(t)
		ctx := patient(t)
		cl := dialWithToken(ctx, t, c, issuer.rotated("a"))
		locks := acquireAll(ctx, t, cl, keysNamed("k", 20), client.TTL(sceneTTL))
		for range 2 {
			pause(ctx, jwtLife)
			for _, l := range locks {
				check, err := cl.CheckToken(ctx, l.Key(), l.Token())
				must(t, err)
				if !check.Current || l.Err() != nil {
					t.Fatalf("lock %s is current: %t, lost: %v", l.Key(), check.Current, l.Err())
				}
			}
		}
		if made := issuer.made.Load(); made < 3 || made > 100 {
			t.Errorf("the client has asked for %d JWTs in two lives of one", made)
		}
		for _, l := range locks {
			must(t, l.Release(ctx))
		}
	})
}

// A session whose JWT expires and is not replaced keeps no lock alive: none of its holds is renewed any
// more, its client learns the reason, and others get the keys within the TTL.
func TestJWTRunsOutInASession(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, issuer := jwtScene(t)
		ctx := patient(t)
		old, err := issuer.sign("a")
		must(t, err)
		cl := dialWithToken(ctx, t, c, func(context.Context) (string, error) { return old, nil })
		locks := acquireAll(ctx, t, cl, keysNamed("k", 20), client.TTL(sceneTTL))
		pause(ctx, jwtLife-sceneTTL)
		for _, l := range locks {
			if l.Err() != nil {
				t.Fatalf("lock %s is lost before the JWT has run out: %v", l.Key(), l.Err())
			}
		}

		other := dialWithToken(ctx, t, c, issuer.rotated("b"))
		for _, l := range locks {
			next, err := other.Acquire(ctx, l.Key(), client.Wait(3*sceneTTL))
			if err != nil {
				t.Fatalf("acquire of %s, whose holder may do nothing any more: %v", l.Key(), err)
			}
			must(t, next.Release(ctx))
			select {
			case <-l.Done():
			case <-ctx.Done():
				t.Fatalf("the client does not know that it has lost %s", l.Key())
			}
			if err := l.Err(); !errors.Is(err, client.ErrLost) || !errors.Is(err, sharelock.ErrUnauthenticated) || !strings.Contains(err.Error(), "has expired") {
				t.Errorf("lock %s is lost: %v, want to know that the JWT has expired", l.Key(), err)
			}
		}
		if _, err := cl.Acquire(ctx, "more"); !errors.Is(err, sharelock.ErrUnauthenticated) {
			t.Errorf("acquire with a JWT that has expired: %v", err)
		}
	})
}
