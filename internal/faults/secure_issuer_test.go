package faults

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"testing"
	"time"
)

// issuer signs JWTs, as an identity provider does.
type issuer struct{ key ed25519.PrivateKey }

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{key}
}

// publish writes the issuer's keys.
func (i *issuer) publish(t testing.TB, path string) {
	t.Helper()
	public := i.key.Public().(ed25519.PublicKey)
	set := map[string]any{"keys": []any{map[string]string{
		"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k", "x": base64.RawURLEncoding.EncodeToString(public),
	}}}
	data, err := json.Marshal(set)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sign returns a JWT for a subject that expires after a time.
func (i *issuer) sign(t testing.TB, subject string, after time.Duration) string {
	t.Helper()
	part := func(v map[string]any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	now := time.Now()
	text := part(map[string]any{"alg": "EdDSA", "kid": "k"}) + "." + part(map[string]any{
		"iss": "https://idp.test", "aud": "sharelock", "sub": subject, "iat": now.Add(-2 * time.Hour).Unix(), "exp": now.Add(after).Unix(),
	})
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(i.key, []byte(text)))
}
