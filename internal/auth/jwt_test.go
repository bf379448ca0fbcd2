package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/sgkandale/sharelock"
)

// issuer signs JWTs.
type issuer struct {
	url, id string
	key     crypto.Signer
	alg     jose.SignatureAlgorithm
}

func newIssuer(t *testing.T, url, id string) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{url, id, key, jose.ES256}
}

// jwks returns the public keys of issuers.
func jwks(t *testing.T, issuers ...*issuer) string {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, i := range issuers {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: i.key.Public(), KeyID: i.id, Use: "sig"})
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sign creates a JWT with these claims, and valid ones for the missing claims.
func (i *issuer) sign(t *testing.T, now time.Time, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"iss": i.url, "aud": []string{"other", "sharelock"}, "sub": "ns:a", "exp": now.Add(time.Hour).Unix()}
	for k, v := range claims {
		if all[k] = v; v == nil {
			delete(all, k)
		}
	}
	return i.signRaw(t, all)
}

func (i *issuer) signRaw(t *testing.T, claims any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: i.alg, Key: jose.JSONWebKey{Key: i.key, KeyID: i.id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

const jwtFile = `principals:
  - {name: apps, jwt: {issuer: "https://idp", audience: sharelock, subject: "ns:*", jwks_file: jwks.json}, max_holds: 4}
  - {name: boss, jwt: {issuer: "https://idp", audience: sharelock, subject: "boss", jwks_file: boss.json}}
`

// newJWTRig has an issuer whose keys are in files: one for the apps, one for the boss.
func newJWTRig(t *testing.T) (r *rig, apps, boss *issuer) {
	t.Helper()
	apps, boss = newIssuer(t, "https://idp", "1"), newIssuer(t, "https://idp", "2")
	r = newRig(t, "policies: {}")
	r.write(t, "jwks.json", jwks(t, apps))
	r.write(t, "boss.json", jwks(t, boss))
	r.write(t, "auth.yaml", jwtFile)
	_ = r.read(false)
	if done, _ := r.Reloads(); done != 1 {
		t.Fatalf("the file was not taken: %s", &r.log)
	}
	return r, apps, boss
}

func TestJWT(t *testing.T) {
	r, apps, boss := newJWTRig(t)
	token := apps.sign(t, r.now, nil)
	id := r.want(t, Credentials{Bearer: token}, "apps/ns:a")
	if id.Kind() != JWT || id.CredentialID() != "ns:a" || !id.Expires().Equal(r.now.Add(time.Hour)) || r.Limits("apps/ns:a").MaxHolds != 4 {
		t.Errorf("%+v", id)
	}
	r.want(t, Credentials{Bearer: boss.sign(t, r.now, map[string]any{"sub": "boss"})}, "boss/boss")

	stranger := newIssuer(t, "https://idp", "1")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + token[strings.Index(token, "."):strings.LastIndex(token, ".")+1]
	for _, tt := range []struct{ name, jwt, want string }{
		{"another key", stranger.sign(t, r.now, nil), "!signature"},
		{"a changed payload", token[:40] + "AAAA" + token[44:], "!"},
		{"no signature", unsigned, "!"},
		{"another audience", apps.sign(t, r.now, map[string]any{"aud": "other"}), "!audience"},
		{"no audience", apps.sign(t, r.now, map[string]any{"aud": nil}), "!audience"},
		{"another issuer", apps.sign(t, r.now, map[string]any{"iss": "https://other"}), `!no principal has the issuer "https://other"`},
		{"no issuer", apps.sign(t, r.now, map[string]any{"iss": nil}), "!malformed"},
		{"another subject", apps.sign(t, r.now, map[string]any{"sub": "other"}), `!no principal has the subject "other"`},
		{"no subject", apps.sign(t, r.now, map[string]any{"sub": nil}), "!malformed"},
		{"a subject of two lines", apps.sign(t, r.now, map[string]any{"sub": "ns:\n"}), "!malformed"},
		{"an expired one", apps.sign(t, r.now, map[string]any{"exp": r.now.Add(-time.Second).Unix()}), "!expired"},
		{"one without an end", apps.sign(t, r.now, map[string]any{"exp": nil}), "!expired"},
		{"one of tomorrow", apps.sign(t, r.now, map[string]any{"nbf": r.now.Add(24 * time.Hour).Unix(), "exp": r.now.Add(25 * time.Hour).Unix()}), "!before the nbf"},
		// The keys of the apps sign for the apps only, although the issuer has the same name.
		{"the boss by the key of the apps", apps.sign(t, r.now, map[string]any{"sub": "boss"}), "!signature"},
		{"the apps by the key of the boss", boss.sign(t, r.now, nil), "!signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.guesses = guesses{}
			r.want(t, Credentials{Bearer: tt.jwt}, tt.want)
		})
	}
}

// A symmetric key, which readers of the file would know, cannot sign a JWT.
func TestJWTAlgorithms(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, apps, _ := newJWTRig(t)
	for _, i := range []*issuer{
		{apps.url, "r", rsaKey, jose.RS256},
		{apps.url, "r", rsaKey, jose.PS512},
		{apps.url, "e", ed, jose.EdDSA},
	} {
		r.write(t, "jwks.json", jwks(t, i))
		_ = r.read(false)
		r.want(t, Credentials{Bearer: i.sign(t, r.now, nil)}, "apps/ns:a")
	}
	secret := []byte(strings.Repeat("s", 32))
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(fmt.Appendf(nil, `{"iss":"https://idp","aud":"sharelock","sub":"ns:a","exp":%d}`, r.now.Add(time.Hour).Unix()))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	r.want(t, Credentials{Bearer: raw}, "!malformed")
	for _, bad := range []string{
		`{"keys":[{"kty":"oct","k":"` + base64.RawURLEncoding.EncodeToString(secret) + `"}]}`,
		`{"keys":[]}`, `{}`, `[]`, `{"keys":[{"kty":"EC"}]}`,
	} {
		if _, err := parseKeys([]byte(bad)); err == nil {
			t.Errorf("%s are keys", bad)
		}
	}
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: rsaKey, KeyID: "r"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseKeys(private); err == nil || !strings.Contains(err.Error(), "is not a public key") {
		t.Errorf("a private key: %v", err)
	}
}

// A JWT is valid until it expires, or its key or its principal is removed.
func TestJWTRefresh(t *testing.T) {
	r, apps, boss := newJWTRig(t)
	id := r.want(t, Credentials{Bearer: apps.sign(t, r.now, nil)}, "apps/ns:a")
	next := newIssuer(t, apps.url, "next")
	r.write(t, "jwks.json", jwks(t, apps, next))
	_ = r.read(false)
	id, err := r.Refresh(id)
	if err != nil || id.Principal() != "apps/ns:a" {
		t.Fatalf("after a key was added: %+v, %v", id, err)
	}
	r.want(t, Credentials{Bearer: next.sign(t, r.now, nil)}, "apps/ns:a")
	r.write(t, "jwks.json", jwks(t, next))
	_ = r.read(false)
	if _, err := r.Refresh(id); !errors.Is(err, sharelock.ErrUnauthenticated) {
		t.Errorf("after its key was taken out: %v", err)
	}
	b := r.want(t, Credentials{Bearer: boss.sign(t, r.now, map[string]any{"sub": "boss"})}, "boss/boss")
	if err := r.Expired(b); err != nil {
		t.Error(err)
	}
	r.now = r.now.Add(time.Hour)
	if err := r.Expired(b); !errors.Is(err, sharelock.ErrUnauthenticated) {
		t.Errorf("when it ends: %v", err)
	}
	if _, err := r.Refresh(b); !errors.Is(err, sharelock.ErrUnauthenticated) {
		t.Errorf("when it ends: %v", err)
	}
}

// Without a file the issuer is asked for its keys, but strangers cannot cause frequent requests.
func TestJWTDiscovery(t *testing.T) {
	var keys atomic.Value
	var asked atomic.Int32
	var url string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch req.URL.Path {
		case "/.well-known/openid-configuration":
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, url, url+"/keys")
		case "/keys":
			asked.Add(1)
			_, _ = fmt.Fprint(w, keys.Load())
		}
	}))
	defer server.Close()
	url = server.URL
	first, second := newIssuer(t, url, "1"), newIssuer(t, url, "2")
	keys.Store(jwks(t, first))
	r := newRig(t, fmt.Sprintf(`principals: [{name: apps, jwt: {issuer: %q, audience: sharelock, subject: "*"}}]`, url))
	id := r.want(t, Credentials{Bearer: first.sign(t, r.now, nil)}, "apps/ns:a")
	keys.Store(jwks(t, second))
	r.want(t, Credentials{Bearer: second.sign(t, r.now, nil)}, "!is not known")
	if n := asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
	r.now = r.now.Add(fetchInterval)
	r.want(t, Credentials{Bearer: second.sign(t, r.now, nil)}, "apps/ns:a")

	// A key that the issuer has withdrawn is refused after a while, also in a JWT that was accepted before.
	old := first.sign(t, r.now, map[string]any{"exp": r.now.Add(24 * time.Hour).Unix()})
	keys.Store(jwks(t, first, second))
	r.now = r.now.Add(fetchInterval)
	r.want(t, Credentials{Bearer: old}, "apps/ns:a")
	keys.Store(jwks(t, second))
	r.want(t, Credentials{Bearer: old}, "apps/ns:a")
	r.now = r.now.Add(max(verifiedFor, keysAge) + time.Second)
	r.want(t, Credentials{Bearer: old}, "!is not known")

	server.Close()
	if _, err := r.Refresh(id); err != nil {
		t.Errorf("refreshed without the issuer: %v", err)
	}
}

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"a", "a", true},
		{"a", "ab", false},
		{"*", "", true},
		{"*", "a:b/c", true},
		{"a*", "abc", true},
		{"a*", "ba", false},
		{"*c", "abc", true},
		{"a*c", "ac", true},
		{"a*c", "abcb", false},
		{"a*b*c", "aXbYc", true},
		{"a*b*c", "aXcYb", false},
		{"ab*ba", "aba", false}, // the two parts must not overlap
		{"a**c", "abc", true},
	} {
		if got := globMatches(tt.pattern, tt.s); got != tt.want {
			t.Errorf("%q, %q: %t", tt.pattern, tt.s, got)
		}
	}
}
