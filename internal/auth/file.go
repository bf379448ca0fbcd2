package auth

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/caller"
	"go.yaml.in/yaml/v3"
)

// Bounds of the auth file.
const (
	maxFileBytes = 4 << 20
	maxNameBytes = 64
)

// file is the content of an auth file. Its names are unique, and the policies that it names exist.
type file struct {
	anonymous  []string
	policies   map[string][]rule
	principals []principalEntry
}

// rule allows verbs on all keys with one of the prefixes.
type rule struct {
	keys  []string
	verbs []Verb
}

// principalEntry is a principal as the file has it.
type principalEntry struct {
	name     string
	policies []string
	tokens   [][sha256.Size]byte
	certs    []string
	jwt      *jwtEntry
	limits   Limits
}

// jwtEntry says which JWTs are a principal's.
type jwtEntry struct {
	issuer, audience, subject string
	// jwksFile has the issuer's keys; if it is empty, the issuer is asked where they are.
	jwksFile string
}

// Limits are what a principal may have and do at most; 0 is no limit.
type Limits struct {
	MaxHolds, MaxWaiters, MaxCallsPerSecond, MaxConnections int
}

// fileReader reads an auth file.
type fileReader struct {
	reader
	file file
	// named lists the references to policies, with their places in the file.
	named []namedPolicy
	// owners says which principal has a name, a token or a certificate.
	owners map[string]string
}

type namedPolicy struct {
	node         *yaml.Node
	field, value string
}

// parseFile reads an auth file. name is for errors.
func parseFile(name string, data []byte) (*file, error) {
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("%s: has %d bytes, the most is %d", name, len(data), maxFileBytes)
	}
	r := &fileReader{reader: reader{name: name}, owners: map[string]string{}}
	r.file.policies = map[string][]rule{}
	root, err := r.document(data)
	if err != nil {
		return nil, err
	}
	r.fields(root, "", map[string]func(*yaml.Node, string){
		"anonymous": func(n *yaml.Node, field string) { r.file.anonymous = r.policyNames(n, field) },
		"policies":  r.policies,
		"principals": func(n *yaml.Node, field string) {
			r.items(n, field, true, r.principal)
		},
	})
	for _, p := range r.named {
		if _, ok := r.file.policies[p.value]; !ok {
			r.fail(p.node, p.field, "there is no policy %q", p.value)
		}
	}
	return &r.file, errors.Join(r.errs...)
}

func (r *fileReader) policies(n *yaml.Node, field string) {
	r.each(n, field, func(key, value *yaml.Node) {
		at := under(field, key.Value)
		if why := badName(key.Value); why != "" {
			r.fail(key, at, "%s", why)
		}
		rules := []rule{}
		r.items(value, at, true, func(n *yaml.Node, field string) { rules = append(rules, r.rule(n, field)) })
		r.file.policies[key.Value] = rules
	})
}

func (r *fileReader) rule(n *yaml.Node, field string) rule {
	var out rule
	r.fields(n, field, map[string]func(*yaml.Node, string){
		"keys": func(n *yaml.Node, field string) {
			r.items(n, field, false, func(n *yaml.Node, field string) {
				if prefix, ok := r.text(n, field); ok {
					if why := badPrefix(prefix); why != "" {
						r.fail(n, field, "%s", why)
					}
					out.keys = append(out.keys, prefix)
				}
			})
		},
		"verbs": func(n *yaml.Node, field string) {
			r.items(n, field, false, func(n *yaml.Node, field string) {
				name, _ := r.text(n, field)
				v, ok := ParseVerb(name)
				if !ok {
					r.fail(n, field, "want acquire, read, force or admin, have %s", kindOf(n))
				}
				out.verbs = append(out.verbs, v)
			})
		},
	})
	r.checkRule(n, field, out)
	return out
}

func (r *fileReader) checkRule(n *yaml.Node, field string, out rule) {
	if n.Kind != yaml.MappingNode {
		return
	}
	if len(out.keys) == 0 {
		r.fail(n, field, `has no keys (for every key: keys: [""])`)
	}
	if len(out.verbs) == 0 {
		r.fail(n, field, "has no verbs")
	}
	for _, v := range out.verbs {
		if v == Admin && (len(out.keys) != 1 || out.keys[0] != "") {
			r.fail(n, field, `admin is not about keys: it needs a rule with keys: [""]`)
		}
	}
}

func (r *fileReader) principal(n *yaml.Node, field string) {
	p := principalEntry{}
	number := func(into *int) func(*yaml.Node, string) {
		return func(n *yaml.Node, field string) { *into, _ = r.number(n, field) }
	}
	r.fields(n, field, map[string]func(*yaml.Node, string){
		"name":                 func(n *yaml.Node, field string) { p.name = r.principalName(n, field) },
		"policies":             func(n *yaml.Node, field string) { p.policies = r.policyNames(n, field) },
		"tokens":               func(n *yaml.Node, field string) { r.tokens(n, field, &p) },
		"certs":                func(n *yaml.Node, field string) { r.certs(n, field, &p) },
		"jwt":                  func(n *yaml.Node, field string) { p.jwt = r.jwt(n, field) },
		"max_holds":            number(&p.limits.MaxHolds),
		"max_waiters":          number(&p.limits.MaxWaiters),
		"max_calls_per_second": number(&p.limits.MaxCallsPerSecond),
		"max_connections":      number(&p.limits.MaxConnections),
	})
	if p.name == "" && n.Kind == yaml.MappingNode {
		r.fail(n, field, "has no name")
	}
	r.file.principals = append(r.file.principals, p)
}

func (r *fileReader) principalName(n *yaml.Node, field string) string {
	name, ok := r.text(n, field)
	if !ok {
		return "?"
	}
	if why := badName(name); why != "" {
		r.fail(n, field, "%s", why)
		return "?"
	}
	if name == caller.Anonymous {
		r.fail(n, field, "%q is the name of callers without credentials; its policies are under anonymous", name)
	}
	r.unique(n, field, "name "+name, "the name is in use twice")
	return name
}

// unique fails if the value was there before.
func (r *fileReader) unique(n *yaml.Node, field, value, problem string) {
	if where, again := r.owners[value]; again {
		r.fail(n, field, "%s, see %s", problem, where)
		return
	}
	r.owners[value] = field
}

func (r *fileReader) policyNames(n *yaml.Node, field string) []string {
	var names []string
	seen := map[string]bool{}
	r.items(n, field, true, func(n *yaml.Node, field string) {
		name, ok := r.text(n, field)
		if !ok {
			return
		}
		if seen[name] {
			r.fail(n, field, "the policy %q is there twice", name)
		}
		seen[name] = true
		names = append(names, name)
		r.named = append(r.named, namedPolicy{n, field, name})
	})
	return names
}

func (r *fileReader) tokens(n *yaml.Node, field string, p *principalEntry) {
	r.items(n, field, true, func(n *yaml.Node, field string) {
		text, ok := r.text(n, field)
		if !ok {
			return
		}
		hash, err := parseStored(text)
		if err != nil {
			r.fail(n, field, "%v", err)
			return
		}
		r.unique(n, field, "token "+string(hash[:]), "the token is there twice")
		p.tokens = append(p.tokens, hash)
	})
}

func (r *fileReader) certs(n *yaml.Node, field string, p *principalEntry) {
	r.items(n, field, true, func(n *yaml.Node, field string) {
		text, ok := r.text(n, field)
		if !ok {
			return
		}
		name, err := parseCertificateName(text)
		if err != nil {
			r.fail(n, field, "%v, have %q", err, text)
			return
		}
		r.unique(n, field, "certificate "+name, "the certificate is there twice")
		p.certs = append(p.certs, name)
	})
}

func (r *fileReader) jwt(n *yaml.Node, field string) *jwtEntry {
	e := &jwtEntry{}
	set := func(into *string) func(*yaml.Node, string) {
		return func(n *yaml.Node, field string) {
			if *into, _ = r.text(n, field); *into == "" {
				r.fail(n, field, "is empty")
			}
		}
	}
	r.fields(n, field, map[string]func(*yaml.Node, string){
		"issuer": set(&e.issuer), "audience": set(&e.audience), "subject": set(&e.subject), "jwks_file": set(&e.jwksFile),
	})
	if n.Kind != yaml.MappingNode {
		return e
	}
	for _, f := range []struct{ name, value string }{{"issuer", e.issuer}, {"audience", e.audience}, {"subject", e.subject}} {
		if f.value == "" {
			r.fail(n, field, "has no %s", f.name)
		}
	}
	if u, err := url.Parse(e.issuer); e.jwksFile == "" && e.issuer != "" && (err != nil || u.Host == "" || u.Scheme != "https" && !isLoopbackHost(u)) {
		r.fail(n, field, "without jwks_file the issuer must be an https URL, have %q", e.issuer)
	}
	return e
}

// badName says what is wrong with the name of a principal or a policy, or nothing. A slash would
// make it look like the subject of a JWT.
func badName(s string) string {
	if s == "" || len(s) > maxNameBytes {
		return fmt.Sprintf("a name has 1 to %d bytes", maxNameBytes)
	}
	for _, c := range s {
		if c == '/' || !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("-_.@:+", c) {
			return fmt.Sprintf("a name has letters, digits and -_.@:+ only, not %q", c)
		}
	}
	return ""
}

// badPrefix says what is wrong with the prefix of a key, or nothing.
func badPrefix(s string) string {
	switch {
	case len(s) > sharelock.MaxKeyBytes:
		return "is longer than any key"
	case !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0:
		return "is not valid UTF-8, or contains a NUL byte"
	}
	return ""
}

// CheckName returns why a text cannot be the name of a principal, or nil.
func CheckName(name string) error {
	if why := badName(name); why != "" {
		return errors.New(why)
	}
	return nil
}
