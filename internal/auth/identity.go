package auth

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/sgkandale/sharelock"
)

// Kind is the kind of the credentials that a caller has presented.
type Kind string

// The kinds of credentials.
const (
	None        Kind = "none"
	Token       Kind = "token"
	Certificate Kind = "certificate"
	JWT         Kind = "jwt"
)

// Identity is an authenticated caller with its rules, as they were when it was made; see
// [Authority.Refresh]. It does not change.
type Identity struct {
	rules *principal
	name  string
	kind  Kind
	// id is the public part of the credentials.
	id string
	// hash is that of a token, names are those of a certificate, claims those of a JWT.
	hash   [sha256.Size]byte
	names  []string
	claims *claims
}

// Principal returns the name of the principal: that of its entry in the file, with a slash and the
// subject for a JWT.
func (id *Identity) Principal() string { return id.name }

// Kind returns the kind of the credentials.
func (id *Identity) Kind() Kind { return id.kind }

// CredentialID returns the public part of the credentials: the id in a token, the name in a
// certificate by which it was found, or the subject of a JWT.
func (id *Identity) CredentialID() string { return id.id }

// Expires returns when the credentials end; zero if they do not end by themselves. The end of a
// certificate ends no connection.
func (id *Identity) Expires() time.Time {
	if id.claims == nil {
		return time.Time{}
	}
	return id.claims.expires
}

// Limits returns what the principal may have and do at most.
func (id *Identity) Limits() Limits { return id.rules.limits }

// Rule is what an identity may do: a verb on the keys with these prefixes.
type Rule struct {
	Verb Verb
	Keys []string
}

// Rules returns everything that the identity may do.
func (id *Identity) Rules() []Rule {
	var list []Rule
	for v := Acquire; v <= Admin; v++ {
		if keys := id.rules.allowed[v].below(""); len(keys) > 0 {
			list = append(list, Rule{v, keys})
		}
	}
	return list
}

// May reports whether a verb is allowed on a key.
func (id *Identity) May(v Verb, key string) bool {
	_, ok := id.rules.allowed[v].find(key)
	return ok
}

// Check returns the rule that allows a verb on a key, or the error for the caller.
func (id *Identity) Check(v Verb, key string) (rule string, err error) {
	g, ok := id.rules.allowed[v].find(key)
	if !ok {
		return "", id.denied(v, fmt.Sprintf("may not %s %q", v, key), ruleFor(key))
	}
	return g.String(), nil
}

// CheckAny returns a rule that allows a verb on some key, or the error for the caller.
func (id *Identity) CheckAny(v Verb) (rule string, err error) {
	if list := id.rules.allowed[v]; len(list) > 0 {
		return list[0].String(), nil
	}
	what := fmt.Sprintf("may %s no key", v)
	if v == Admin {
		what = "may not do what is for administrators (admin)"
	}
	return "", id.denied(v, what, "")
}

// Within returns the prefixes below prefix on which a verb is allowed, sorted; all is set if that is
// everything below prefix. It returns the error for the caller if there are none.
func (id *Identity) Within(v Verb, prefix string) (list []string, all bool, err error) {
	if id.May(v, prefix) {
		return []string{prefix}, true, nil
	}
	list = id.rules.allowed[v].below(prefix)
	if len(list) == 0 {
		_, err = id.Check(v, prefix)
	}
	return list, false, err
}

// Nobody reports whether the caller has presented no credentials and anonymous callers may do nothing.
func (id *Identity) Nobody() bool { return id.kind == None && len(id.Rules()) == 0 }

// Same reports whether two identities have the same principal and the same rules.
func (id *Identity) Same(other *Identity) bool {
	return id.rules == other.rules && id.name == other.name
}

// denied returns the error for a call that is not allowed. Its message names a rule that would allow it.
func (id *Identity) denied(v Verb, what, prefix string) error {
	if id.kind != None {
		entry, _, _ := strings.Cut(id.name, "/")
		return &sharelock.Error{Err: sharelock.ErrPermissionDenied, Message: fmt.Sprintf(
			"principal %q %s; a policy of %s with {keys: [%q], verbs: [%s]} in the auth file would allow it", id.name, what, entry, prefix, v)}
	}
	note := "a call without credentials"
	if len(id.names) > 0 {
		note = fmt.Sprintf("a call with a certificate that belongs to no principal of the auth file (%s)", strings.Join(id.names[:min(len(id.names), 4)], ", "))
	}
	return &sharelock.Error{Err: sharelock.ErrUnauthenticated, Message: fmt.Sprintf("%s %s; send a token or use a client certificate", note, what)}
}

// ruleFor returns the prefix that a rule for a key would probably have: up to its first slash.
func ruleFor(key string) string {
	if i := strings.IndexByte(key, '/'); i >= 0 {
		return key[:i+1]
	}
	return key
}
