package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/sgkandale/sharelock/internal/caller"
)

// rules is a compiled auth file. It does not change, except that it records which credentials were
// proven.
type rules struct {
	// hash names the content of the file and of the key files that it names.
	hash      string
	anonymous *principal
	byName    map[string]*principal
	// tokens are found by the first bytes of their hash, and then compared in constant time.
	tokens map[uint64][]*storedToken
	certs  map[string]*principal
	// jwts are in the order of the file, by issuer.
	jwts map[string][]*jwtRule
	// verified are the JWTs that were verified.
	verified verified
}

// principal holds what the principals of one entry in the file may do.
type principal struct {
	name string
	// allowed are the prefixes on which a verb is allowed.
	allowed [Admin + 1]prefixes
	limits  Limits
}

// storedToken is a token of a principal.
type storedToken struct {
	hash  [sha256.Size]byte
	owner *principal
	// proven is set once the token was presented.
	proven atomic.Bool
}

// load reads and compiles an auth file and the key files that it names, which are relative to it.
func load(path string, remote *remoteKeys) (*rules, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err // names the file
	}
	f, err := parseFile(filepath.Base(path), data)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	sum.Write(data)
	r := &rules{
		byName: map[string]*principal{}, tokens: map[uint64][]*storedToken{},
		certs: map[string]*principal{}, jwts: map[string][]*jwtRule{},
	}
	r.anonymous = f.compile(caller.Anonymous, f.anonymous)
	keys := map[string]*fileKeys{}
	for i := range f.principals {
		e := &f.principals[i]
		p := f.compile(e.name, e.policies)
		p.limits = e.limits
		r.add(e, p)
		if e.jwt == nil {
			continue
		}
		rule := &jwtRule{jwtEntry: *e.jwt, owner: p}
		if rule.keys, err = keysOf(e.jwt, filepath.Dir(path), keys, remote, sum); err != nil {
			return nil, fmt.Errorf("%s: principal %s: %w", filepath.Base(path), e.name, err)
		}
		rule.prepare(remote.now)
		r.jwts[e.jwt.issuer] = append(r.jwts[e.jwt.issuer], rule)
	}
	r.hash = hex.EncodeToString(sum.Sum(nil)[:8])
	return r, nil
}

// compile makes a principal that has these policies.
func (f *file) compile(name string, policies []string) *principal {
	p := &principal{name: name}
	var grants [Admin + 1][]grant
	for _, policy := range policies {
		for _, rule := range f.policies[policy] {
			for _, v := range rule.verbs {
				for _, prefix := range rule.keys {
					grants[v] = append(grants[v], grant{prefix, policy})
				}
			}
		}
	}
	for v := range grants {
		p.allowed[v] = compilePrefixes(grants[v])
	}
	return p
}

// add makes a principal findable by its name, tokens and certificates.
func (r *rules) add(e *principalEntry, p *principal) {
	r.byName[e.name] = p
	for _, hash := range e.tokens {
		at := binary.BigEndian.Uint64(hash[:])
		r.tokens[at] = append(r.tokens[at], &storedToken{hash: hash, owner: p})
	}
	for _, name := range e.certs {
		r.certs[name] = p
	}
}

// nobody holds a token that matches no hash.
var nobody = []*storedToken{{}}

// token finds a token by its hash. It takes as long if the token is unknown.
func (r *rules) token(hash [sha256.Size]byte) *storedToken {
	candidates := r.tokens[binary.BigEndian.Uint64(hash[:])]
	if len(candidates) == 0 {
		candidates = nobody
	}
	var found *storedToken
	for _, t := range candidates {
		if subtle.ConstantTimeCompare(t.hash[:], hash[:]) == 1 && t.owner != nil {
			found = t
		}
	}
	return found
}

// named returns the entry of a principal. For a principal name/subject, that is the entry of name.
func (r *rules) named(name string) (*principal, bool) {
	if name == caller.Anonymous {
		return r.anonymous, true
	}
	entry, _, _ := strings.Cut(name, "/")
	p, ok := r.byName[entry]
	return p, ok
}
