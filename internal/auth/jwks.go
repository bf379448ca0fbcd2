package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// algorithms are those by which a JWT may be signed. All are asymmetric: with a shared key, everybody
// who can read this node's files could sign, too.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// keysOf returns the keys of an issuer. files are the key files that were read before, by name.
func keysOf(e *jwtEntry, dir string, files map[string]*fileKeys, remote *remoteKeys, sum hash.Hash) (oidc.KeySet, error) {
	if e.jwksFile == "" {
		return remote.of(e.issuer), nil
	}
	path := e.jwksFile
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if k := files[path]; k != nil {
		return k, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("jwks_file: %w", err)
	}
	k, err := parseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("jwks_file: %s: %w", e.jwksFile, err)
	}
	sum.Write(data)
	files[path] = k
	return k, nil
}

// fileKeys are the public keys of a JWKS file. read is when they were fetched from an issuer, if they were.
type fileKeys struct {
	keys []jose.JSONWebKey
	read time.Time
}

// parseKeys reads a JWKS file. Keys of unknown types are left out; secrets are an error, since this
// file is not the place for them.
func parseKeys(data []byte) (*fileKeys, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, err
	}
	out := &fileKeys{}
	for i, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := json.Unmarshal(raw, &key); errors.Is(err, jose.ErrUnsupportedKeyType) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		if !key.IsPublic() {
			return nil, fmt.Errorf("keys[%d]: is not a public key", i)
		}
		out.keys = append(out.keys, key)
	}
	if len(out.keys) == 0 {
		return nil, errors.New("has no keys")
	}
	return out, nil
}

// VerifySignature implements oidc.KeySet.
func (k *fileKeys) VerifySignature(_ context.Context, jwt string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(jwt, algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, errors.New("malformed")
	}
	id := jws.Signatures[0].Header.KeyID
	for i := range k.keys {
		if id != "" && k.keys[i].KeyID != "" && k.keys[i].KeyID != id {
			continue
		}
		if payload, err := jws.Verify(&k.keys[i]); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("none of the issuer's keys has signed it")
}

// Bounds of the calls to an issuer.
const (
	fetchTimeout = 5 * time.Second
	// fetchInterval is the shortest time between two fetches from one issuer: a JWT with an
	// unknown key, which anyone can make, causes one.
	fetchInterval = 10 * time.Second
	// keysAge is how old keys are when they are fetched again.
	keysAge     = 5 * time.Minute
	maxKeyBytes = 1 << 20
)

// errNoKey refuses a JWT whose key is not known.
var errNoKey = errors.New("the key that has signed it is not known")

// errFetched refuses a fetch that comes too early.
var errFetched = errors.New("the issuer was asked for its keys a moment ago")

// remoteKeys are the keys of issuers that are asked for them. They are kept when the file changes.
type remoteKeys struct {
	client *http.Client // nil uses the default one
	log    *slog.Logger
	now    func() time.Time

	mu       sync.Mutex
	byIssuer map[string]*issuerKeys // guarded by mu
}

// of returns the keys of an issuer. They are fetched when they are needed.
func (r *remoteKeys) of(issuer string) *issuerKeys {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.byIssuer[issuer]
	if k == nil {
		k = &issuerKeys{issuer: issuer, now: r.now, log: r.log}
		base := http.DefaultTransport
		if r.client != nil && r.client.Transport != nil {
			base = r.client.Transport
		}
		k.client = &http.Client{Transport: boundedBody{base}, Timeout: fetchTimeout}
		if r.byIssuer == nil {
			r.byIssuer = map[string]*issuerKeys{}
		}
		r.byIssuer[issuer] = k
	}
	return k
}

// issuerKeys are the keys of an issuer, which its discovery document names.
type issuerKeys struct {
	issuer string
	client *http.Client
	now    func() time.Time
	log    *slog.Logger

	// fetching is held while the issuer is asked; asked is when that was last.
	fetching sync.Mutex
	asked    time.Time

	// known are the keys that were fetched last.
	known atomic.Pointer[fileKeys]
}

// VerifySignature implements oidc.KeySet.
func (k *issuerKeys) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	known := k.known.Load()
	if known != nil && k.now().Sub(known.read) > keysAge {
		// The issuer may have withdrawn a key. While it does not answer, those that are known stay.
		if keys, err := k.fetch(ctx, known); err == nil {
			known = keys
		}
	}
	if known != nil {
		if payload, err := known.VerifySignature(ctx, jwt); err == nil {
			return payload, nil
		}
	}
	keys, err := k.fetch(ctx, known)
	if err != nil {
		// The sender of a JWT must not learn what this node can reach, and how.
		if !errors.Is(err, errFetched) {
			k.log.Warn("cannot read the keys of an issuer of JWTs", "issuer", k.issuer, "error", err)
		}
		return nil, errNoKey
	}
	return keys.VerifySignature(ctx, jwt)
}

// fetch asks the issuer for its keys, unless that has just been done. Callers that come meanwhile
// wait for the same answer. old are the keys that the caller has tried.
func (k *issuerKeys) fetch(ctx context.Context, old *fileKeys) (*fileKeys, error) {
	k.fetching.Lock()
	defer k.fetching.Unlock()
	if known := k.known.Load(); known != old {
		return known, nil
	}
	now := k.now()
	if !k.asked.IsZero() && now.Sub(k.asked) < fetchInterval {
		return nil, errFetched
	}
	k.asked = now
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	ctx = oidc.ClientContext(ctx, k.client)
	provider, err := oidc.NewProvider(ctx, k.issuer)
	if err != nil {
		return nil, err
	}
	var claims struct {
		JWKS string `json:"jwks_uri"`
	}
	if err := provider.Claims(&claims); err != nil {
		return nil, err
	}
	data, err := k.get(ctx, claims.JWKS)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(data)
	if err != nil {
		return nil, err
	}
	keys.read = now
	k.known.Store(keys)
	return keys, nil
}

func (k *issuerKeys) get(ctx context.Context, from string) ([]byte, error) {
	if u, err := url.Parse(from); err != nil || u.Scheme != "https" && !isLoopbackHost(u) {
		return nil, fmt.Errorf("jwks_uri %q is not an https URL", from)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("jwks_uri %q: %s", from, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// boundedBody bounds what is read of an answer.
type boundedBody struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b boundedBody) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxKeyBytes), resp.Body}
	}
	return resp, err
}

// isLoopbackHost reports whether a URL names this host, where plain HTTP is acceptable.
func isLoopbackHost(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (ip.IsLoopback() || strings.EqualFold(u.Hostname(), "localhost"))
}
