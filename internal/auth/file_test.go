package auth

import (
	"fmt"
	"strings"
	"testing"
)

const goodFile = `
anonymous: [reader]
policies:
  ci:     [{keys: ["ci/"], verbs: [acquire, read]}]
  reader: [{keys: [""],    verbs: [read]}]
  ops:    [{keys: [""],    verbs: [acquire, read, force, admin]}]
  none:   []
principals:
  - {name: ci,   policies: [ci],  tokens: ["sha256:%064d"], max_holds: 1000, max_waiters: 5, max_calls_per_second: 7, max_connections: 9}
  - {name: ops,  policies: [ops], certs: ["dns:Ops.Example", "cn:ops", "uri:spiffe://example/ops"]}
  - {name: apps, policies: [ci],  jwt: {issuer: "https://idp", audience: sharelock, subject: "system:serviceaccount:ci:*"}}
`

func TestFile(t *testing.T) {
	f, err := parseFile("auth.yaml", fmt.Appendf(nil, goodFile, 1))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.principals) != 3 || f.principals[0].limits != (Limits{1000, 5, 7, 9}) || f.principals[1].certs[0] != "dns:ops.example" {
		t.Errorf("%+v", f)
	}
	p := f.compile("x", []string{"ci", "reader"})
	for _, tt := range []struct {
		verb Verb
		key  string
		want bool
	}{
		{Acquire, "ci/a", true},
		{Acquire, "ci", false},
		{Acquire, "prod/a", false},
		{Read, "prod/a", true},
		{Force, "ci/a", false},
		{Admin, "", false},
	} {
		id := &Identity{rules: p, name: "x", kind: Token}
		rule, err := id.Check(tt.verb, tt.key)
		if (err == nil) != tt.want || (rule != "") != tt.want {
			t.Errorf("%v %q: %q, %v", tt.verb, tt.key, rule, err)
		}
	}
}

// Every mistake is an error that names the line and the field.
func TestFileMistakes(t *testing.T) {
	hash := "sha256:" + strings.Repeat("0", 64)
	for _, tt := range []struct{ name, text, want string }{
		{"an empty file", "", "is empty"},
		{"a comment", "# nothing", "is empty"},
		{"two documents", "anonymous: []\n---\n", "more than one document"},
		{"no YAML", "{", "auth.yaml:"},
		{"a list", "[]", "want keys and values, have a list"},
		{"an unknown key", "policies: {}\nprincipal: []", `auth.yaml:2: unknown key "principal"`},
		{"a key twice", "policies: {}\npolicies: {}", `auth.yaml:2: the key "policies" is here and in line 1`},
		{"a policy twice", "policies:\n  a: []\n  a: []", `auth.yaml:3: policies: the key "a" is here and in line 2`},
		{"an unknown policy", "anonymous: [x]", `auth.yaml:1: anonymous[0]: there is no policy "x"`},
		{"a policy twice in a list", "policies: {a: []}\nanonymous: [a, a]", `anonymous[1]: the policy "a" is there twice`},
		{"an unknown field of a rule", `policies: {a: [{key: [""], verbs: [read]}]}`, `policies.a[0]: unknown key "key"`},
		{"no keys", `policies: {a: [{verbs: [read]}]}`, "policies.a[0]: has no keys"},
		{"no verbs", `policies: {a: [{keys: [""]}]}`, "policies.a[0]: has no verbs"},
		{"empty keys", `policies: {a: [{keys: [], verbs: [read]}]}`, "policies.a[0].keys: is empty"},
		{"one key without a list", `policies: {a: [{keys: "", verbs: [read]}]}`, `policies.a[0].keys: want a list, have ""`},
		{"a key that is a number", `policies: {a: [{keys: [1], verbs: [read]}]}`, `policies.a[0].keys[0]: want text, have "1"`},
		{"an unknown verb", `policies: {a: [{keys: [""], verbs: [write]}]}`, `policies.a[0].verbs[0]: want acquire, read, force or admin, have "write"`},
		{"admin of a key", `policies: {a: [{keys: ["x"], verbs: [admin]}]}`, "admin is not about keys"},
		{"a long prefix", `policies: {a: [{keys: ["` + strings.Repeat("x", 513) + `"], verbs: [read]}]}`, "is longer than any key"},
		{"a principal without a name", "principals: [{policies: []}]", "principals[0]: has no name"},
		{"a principal with a bad name", `principals: [{name: "a/b"}]`, "principals[0].name: a name has letters"},
		{"anonymous as a principal", "principals: [{name: anonymous}]", "principals[0].name:"},
		{"a name twice", "principals: [{name: a}, {name: a}]", "principals[1].name: the name is in use twice, see principals[0].name"},
		{"a token twice", `principals: [{name: a, tokens: ["` + hash + `"]}, {name: b, tokens: ["` + hash + `"]}]`, "the token is there twice"},
		{"a bad hash", `principals: [{name: a, tokens: ["sha256:12"]}]`, "principals[0].tokens[0]: want sha256:"},
		{"a bad certificate", `principals: [{name: a, certs: ["ip:1"]}]`, `want "dns:", "uri:" or "cn:"`},
		{"a certificate twice", `principals: [{name: a, certs: ["dns:x", "dns:X"]}]`, "the certificate is there twice"},
		{"a JWT of no audience", `principals: [{name: a, jwt: {issuer: "https://i", subject: "*"}}]`, "principals[0].jwt: has no audience"},
		{"an issuer without TLS", `principals: [{name: a, jwt: {issuer: "http://i", audience: a, subject: "*"}}]`, "must be an https URL"},
		{"a limit of 0", "principals: [{name: a, max_holds: 0}]", `principals[0].max_holds: want a whole number from 1 on, have "0"`},
		{"an alias", "policies: &a {}\nanonymous: *a", "anonymous: want a list, have an alias"},
	} {
		_, err := parseFile("auth.yaml", []byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add(fmt.Appendf(nil, goodFile, 1))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parseFile("f", data)
		if err != nil {
			return
		}
		for _, p := range file.principals {
			if p.name == "" || len(p.name) > maxNameBytes {
				t.Errorf("a principal is named %q", p.name)
			}
			file.compile(p.name, p.policies)
		}
	})
}

func FuzzCredentials(f *testing.F) {
	token, _ := NewToken()
	f.Add(token)
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lkcCIsInN1YiI6InMifQ.")
	f.Fuzz(func(t *testing.T, bearer string) {
		if id, err := parseToken(bearer); err == nil && len(id) != idDigits {
			t.Errorf("%q has the id %q", bearer, id)
		}
		if c, err := unverified(bearer); err == nil && (c.Issuer == "" || !mayBeSubject(c.Subject)) {
			t.Errorf("%q claims %+v", bearer, c)
		}
	})
}
