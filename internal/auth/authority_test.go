package auth

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/caller"
)

// local and far are the addresses of callers.
var local, far = netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.9")

// rig is an authority with a clock and a log.
type rig struct {
	*Authority
	dir string
	now time.Time
	log bytes.Buffer
}

func newRig(t *testing.T, text string) *rig {
	t.Helper()
	r := &rig{dir: t.TempDir(), now: time.Unix(1.8e9, 0)}
	r.write(t, "auth.yaml", text)
	var err error
	r.Authority, err = Open(Config{
		File: filepath.Join(r.dir, "auth.yaml"), Log: slog.New(slog.NewTextHandler(&r.log, nil)), Now: func() time.Time { return r.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// want authenticates, and checks the principal, or the error if want begins with !.
func (r *rig) want(t *testing.T, c Credentials, want string) *Identity {
	t.Helper()
	id, err := r.Authenticate(t.Context(), c)
	text, bad := strings.CutPrefix(want, "!")
	switch {
	case bad && (err == nil || !errors.Is(err, sharelock.ErrUnauthenticated) || !strings.Contains(err.Error(), text)):
		t.Errorf("got %v, want the error %q", err, text)
	case !bad && (err != nil || id.Principal() != want):
		t.Errorf("got %+v, %v, want %q", id, err, want)
	}
	return id
}

func TestAuthenticate(t *testing.T) {
	token, stored := NewToken()
	stranger, _ := NewToken()
	r := newRig(t, fmt.Sprintf(`
policies: {all: [{keys: [""], verbs: [read]}]}
principals:
  - {name: ci, policies: [all], tokens: [%q], max_holds: 3}
  - {name: dns, certs: ["dns:a.example"]}
  - {name: cn, certs: ["cn:a.example"]}
  - {name: uri, certs: ["uri:spiffe://example/a"]}
`, stored))
	spiffe, err := url.Parse("spiffe://example/a")
	if err != nil {
		t.Fatal(err)
	}
	cn := &x509.Certificate{Subject: pkix.Name{CommonName: "a.example"}}
	dns := &x509.Certificate{DNSNames: []string{"x", "A.Example"}, Subject: cn.Subject}
	uri := &x509.Certificate{DNSNames: dns.DNSNames, URIs: []*url.URL{spiffe}}
	r.want(t, Credentials{}, caller.Anonymous)
	r.want(t, Credentials{Certificate: &x509.Certificate{Subject: pkix.Name{CommonName: "x"}}}, caller.Anonymous)
	r.want(t, Credentials{Certificate: cn}, "cn")
	r.want(t, Credentials{Certificate: dns}, "dns")
	r.want(t, Credentials{Certificate: uri}, "uri")
	id := r.want(t, Credentials{Bearer: token, Certificate: dns}, "ci")
	if id.Kind() != Token || !strings.Contains(token, "_"+id.CredentialID()+"_") || id.Limits().MaxHolds != 3 || r.Limits("ci").MaxHolds != 3 || r.Limits("x") != (Limits{}) {
		t.Errorf("%+v", id)
	}
	r.want(t, Credentials{Bearer: stranger, Certificate: dns}, "!is not in the auth file")
	r.want(t, Credentials{Bearer: token[1:]}, "!neither one of ShareLock")
	r.want(t, Credentials{Bearer: token + "x"}, "!is damaged")
	r.want(t, Credentials{Bearer: strings.Repeat("x", MaxBearerBytes+1)}, "!the most is")
	r.want(t, Credentials{Bearer: token, Plain: true, From: local}, "ci")
	r.want(t, Credentials{Bearer: token, Plain: true, From: netip.MustParseAddr("::1")}, "ci")
	r.want(t, Credentials{Bearer: token, Plain: true, From: far}, "!over plain text")
	r.want(t, Credentials{Bearer: token, Plain: true}, "!over plain text")
	if n := r.Failures(); n["plaintext"] != 2 || n["unknown_token"] != 1 || n["malformed"] != 3 {
		t.Errorf("the failures are counted as %v", n)
	}
}

// Denials name the verb, the key, the principal and a rule that would allow the call.
func TestDenials(t *testing.T) {
	_, stored := NewToken()
	r := newRig(t, fmt.Sprintf("principals: [{name: ci, tokens: [%q]}]", stored))
	ci, err := r.As("ci")
	if err != nil {
		t.Fatal(err)
	}
	_, err = ci.Check(Acquire, "prod/x")
	want := `principal "ci" may not acquire "prod/x"; a policy of ci with {keys: ["prod/"], verbs: [acquire]} in the auth file would allow it`
	if !errors.Is(err, sharelock.ErrPermissionDenied) || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v", err)
	}
	if _, err = ci.CheckAny(Admin); !errors.Is(err, sharelock.ErrPermissionDenied) || !strings.Contains(err.Error(), `{keys: [""], verbs: [admin]}`) {
		t.Errorf("%v", err)
	}
	nobody := r.want(t, Credentials{Certificate: &x509.Certificate{Subject: pkix.Name{CommonName: "x"}}}, caller.Anonymous)
	if _, err = nobody.Check(Read, "k"); !errors.Is(err, sharelock.ErrUnauthenticated) || !strings.Contains(err.Error(), `may not read "k"`) || !strings.Contains(err.Error(), "cn:x") {
		t.Errorf("%v", err)
	}
	if !nobody.Nobody() || ci.Nobody() {
		t.Error("Nobody is wrong")
	}
	if _, err := r.As("x"); err == nil {
		t.Error("there is a principal x")
	}
}

// After a number of bad credentials of an address, no more are examined for a while. Credentials that were
// valid before still are, wherever they come from.
func TestGuessing(t *testing.T) {
	proven, first := NewToken()
	fresh, second := NewToken()
	r := newRig(t, fmt.Sprintf("principals: [{name: ci, tokens: [%q, %q]}]", first, second))
	r.want(t, Credentials{Bearer: proven, From: local}, "ci")
	guess, _ := NewToken()
	for range guessBurst {
		r.want(t, Credentials{Bearer: guess, From: far}, "!is not in the auth file")
	}
	r.want(t, Credentials{Bearer: guess, From: far}, "!too many bad credentials")
	r.want(t, Credentials{Bearer: fresh, From: far}, "!too many bad credentials")
	r.want(t, Credentials{Bearer: proven, From: far}, "ci")
	r.want(t, Credentials{From: far}, caller.Anonymous)
	r.now = r.now.Add(2 * guessInterval)
	r.want(t, Credentials{Bearer: fresh, From: far}, "ci")
}

// A changed file is loaded, and a bad one is not; identities are refreshed.
func TestReload(t *testing.T) {
	token, stored := NewToken()
	good := "policies: {p: [{keys: [\"a/\"], verbs: [acquire]}]}\nprincipals: [{name: ci, policies: [p], tokens: [%q], certs: [\"cn:ci\"]}]"
	r := newRig(t, fmt.Sprintf(good, stored))
	hash := r.Hash()
	id := r.want(t, Credentials{Bearer: token}, "ci")
	cert := r.want(t, Credentials{Certificate: &x509.Certificate{Subject: pkix.Name{CommonName: "ci"}}}, "ci")
	_ = r.read(false)
	if done, failed := r.Reloads(); done != 0 || failed != 0 || r.Hash() != hash {
		t.Errorf("%d reloads, %d failed without a change", done, failed)
	}
	for _, bad := range []string{"", "principals: [{nam: x}]"} {
		r.write(t, "auth.yaml", bad)
		_ = r.read(false)
		_ = r.read(false)
	}
	if done, failed := r.Reloads(); done != 0 || failed != 2 || r.Hash() != hash || strings.Count(r.log.String(), "the auth file is bad") != 2 {
		t.Errorf("%d reloads, %d failed; the log is %s", done, failed, &r.log)
	}
	r.write(t, "auth.yaml", strings.ReplaceAll(fmt.Sprintf(good, stored), "a/", "b/"))
	_ = r.read(false)
	if done, _ := r.Reloads(); done != 1 || r.Hash() == hash {
		t.Errorf("%d reloads", done)
	}
	for _, old := range []*Identity{id, cert} {
		now, err := r.Refresh(old)
		if err != nil || now.Same(old) || !now.May(Acquire, "b/") || now.May(Acquire, "a/") {
			t.Errorf("refreshed: %+v, %v", now, err)
		}
	}
	r.write(t, "auth.yaml", "policies: {}")
	_ = r.read(false)
	if _, err := r.Refresh(id); !errors.Is(err, sharelock.ErrUnauthenticated) {
		t.Errorf("a token that was taken out: %v", err)
	}
	if now, err := r.Refresh(cert); err != nil || now.Principal() != caller.Anonymous {
		t.Errorf("a certificate that was taken out: %+v, %v", now, err)
	}
	if err := os.Remove(filepath.Join(r.dir, "auth.yaml")); err != nil {
		t.Fatal(err)
	}
	_ = r.read(false)
	if _, failed := r.Reloads(); failed != 3 {
		t.Errorf("a file that is gone: %d failed", failed)
	}
}
