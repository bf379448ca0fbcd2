package auth

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// grant allows something on all keys with a prefix, because of a policy.
type grant struct{ prefix, policy string }

// String names the rule, for the audit log.
func (g grant) String() string { return fmt.Sprintf("%s: %q", g.policy, g.prefix) }

// prefixes are grants sorted by prefix. No prefix begins with another one of them.
type prefixes []grant

// compilePrefixes sorts grants, and drops those that a shorter prefix covers. Of equal prefixes the
// first remains.
func compilePrefixes(grants []grant) prefixes {
	grants = slices.Clone(grants)
	slices.SortStableFunc(grants, func(a, b grant) int { return cmp.Compare(a.prefix, b.prefix) })
	list := grants[:0]
	for _, g := range grants {
		// Everything between a prefix and g begins with that prefix, so it is the last one.
		if n := len(list); n == 0 || !strings.HasPrefix(g.prefix, list[n-1].prefix) {
			list = append(list, g)
		}
	}
	return slices.Clip(list)
}

// find returns the grant whose prefix key begins with.
func (p prefixes) find(key string) (grant, bool) {
	i, exact := slices.BinarySearchFunc(p, key, func(g grant, key string) int { return cmp.Compare(g.prefix, key) })
	if exact {
		return p[i], true
	}
	// The prefix of key, if there is one, is the largest prefix that is not above key: any other one in
	// between would begin with it, too.
	if i > 0 && strings.HasPrefix(key, p[i-1].prefix) {
		return p[i-1], true
	}
	return grant{}, false
}

// below returns the prefixes that begin with prefix, sorted.
func (p prefixes) below(prefix string) []string {
	i, _ := slices.BinarySearchFunc(p, prefix, func(g grant, key string) int { return cmp.Compare(g.prefix, key) })
	var list []string
	for _, g := range p[i:] {
		if !strings.HasPrefix(g.prefix, prefix) {
			break
		}
		list = append(list, g.prefix)
	}
	return list
}
