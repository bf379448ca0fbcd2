package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
)

// maxSubjectBytes bounds the subject of a JWT, which becomes a part of the principal's name.
const maxSubjectBytes = 190

// jwtRule says which JWTs are a principal's, and how they are verified.
type jwtRule struct {
	jwtEntry
	owner    *principal
	keys     oidc.KeySet
	verifier *oidc.IDTokenVerifier
}

// prepare makes the verifier.
func (r *jwtRule) prepare(now func() time.Time) {
	algs := make([]string, len(algorithms))
	for i, a := range algorithms {
		algs[i] = string(a)
	}
	r.verifier = oidc.NewVerifier(r.issuer, r.keys, &oidc.Config{ClientID: r.audience, SupportedSigningAlgs: algs, Now: now})
}

// claims are what a verified JWT says.
type claims struct {
	raw             string
	issuer, subject string
	audience        []string
	expires         time.Time
	// keys are those that it was verified with.
	keys oidc.KeySet
}

// jwt verifies a JWT and finds its principal: that of the first rule in the file that fits and whose
// keys have signed it.
func (r *rules) jwt(ctx context.Context, raw string) (*Identity, error) {
	claimed, err := unverified(raw)
	if err != nil {
		return nil, err
	}
	if len(r.jwts[claimed.Issuer]) == 0 {
		return nil, fmt.Errorf("no principal has the issuer %q", claimed.Issuer)
	}
	refused := fmt.Errorf("no principal has the subject %q", claimed.Subject)
	for _, rule := range r.jwts[claimed.Issuer] {
		if !globMatches(rule.subject, claimed.Subject) {
			continue
		}
		t, err := rule.verifier.Verify(ctx, raw)
		if err != nil {
			refused = err
			continue
		}
		c := &claims{raw: raw, issuer: t.Issuer, subject: t.Subject, audience: t.Audience, expires: t.Expiry, keys: rule.keys}
		if rule.fits(c) { // it says the same twice, or is malicious
			return rule.identity(c), nil
		}
	}
	return nil, refused
}

// fits reports whether a rule applies to JWTs with these claims.
func (r *jwtRule) fits(c *claims) bool {
	return r.issuer == c.issuer && slices.Contains(c.audience, r.audience) && globMatches(r.subject, c.subject) && mayBeSubject(c.subject)
}

func (r *jwtRule) identity(c *claims) *Identity {
	return &Identity{rules: r.owner, name: r.owner.name + "/" + c.subject, kind: JWT, id: c.subject, claims: c}
}

// again finds the principal of a JWT that was verified under other rules. It does not block: it does
// not fetch the keys of issuers again.
func (r *rules) again(c *claims, at time.Time) (*Identity, error) {
	if !c.expires.After(at) {
		return nil, &oidc.TokenExpiredError{Expiry: c.expires}
	}
	for _, rule := range r.jwts[c.issuer] {
		if !rule.fits(c) {
			continue
		}
		_, remote := rule.keys.(*issuerKeys)
		same := rule.keys == c.keys
		if !remote && !same {
			_, err := rule.verifier.Verify(context.Background(), c.raw)
			same = err == nil
		}
		if same {
			now := *c
			now.keys = rule.keys
			return rule.identity(&now), nil
		}
	}
	return nil, errors.New("it is of no principal any more")
}

// invalidity returns what is wrong with a JWT, for its sender, who can do something about one that has expired.
func invalidity(err error) error {
	if old := (*oidc.TokenExpiredError)(nil); errors.As(err, &old) {
		return fmt.Errorf("it has expired, at %s; send a new one", old.Expiry.UTC().Format(time.RFC3339))
	}
	return err
}

// unverifiedClaims are the claims of a JWT before it is verified.
type unverifiedClaims struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

// unverified reads the claims of a JWT that select the rules to try.
func unverified(raw string) (c unverifiedClaims, err error) {
	_, rest, _ := strings.Cut(raw, ".")
	payload, _, _ := strings.Cut(rest, ".")
	b, err := base64.RawURLEncoding.DecodeString(payload)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil || c.Issuer == "" || !mayBeSubject(c.Subject) {
		return c, errors.New("it is malformed")
	}
	return c, nil
}

// mayBeSubject reports whether a subject can be a part of a name.
func mayBeSubject(s string) bool {
	return s != "" && len(s) <= maxSubjectBytes && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// globMatches reports whether a pattern, in which * stands for any text, matches all of s.
func globMatches(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, head)
	if !ok {
		return false
	}
	parts := strings.Split(rest, "*")
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return strings.HasSuffix(s, last)
}

// maxVerified bounds the JWTs that are remembered.
const maxVerified = 4096

// verifiedFor is how long a JWT is not verified again. A key that its issuer has withdrawn is
// refused after this time and keysAge together.
const verifiedFor = 5 * time.Minute

// verified holds the JWTs that were verified a short time ago, by their hash, so that not every call
// has to verify a signature.
type verified struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]verifiedJWT // guarded by mu
}

// verifiedJWT is the identity of a JWT, until it has to be verified again.
type verifiedJWT struct {
	id    *Identity
	until time.Time
}

func (v *verified) get(hash [sha256.Size]byte, now time.Time) *Identity {
	v.mu.Lock()
	defer v.mu.Unlock()
	jwt := v.all[hash]
	if jwt.id != nil && !jwt.until.After(now) {
		delete(v.all, hash)
		return nil
	}
	return jwt.id
}

func (v *verified) put(hash [sha256.Size]byte, id *Identity, now time.Time) {
	until := now.Add(verifiedFor)
	if id.claims.expires.Before(until) {
		until = id.claims.expires
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.all == nil {
		v.all = map[[sha256.Size]byte]verifiedJWT{}
	}
	for old := range v.all {
		if len(v.all) < maxVerified {
			break
		}
		delete(v.all, old)
	}
	v.all[hash] = verifiedJWT{id, until}
}
