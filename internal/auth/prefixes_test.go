package auth

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A search in the compiled prefixes finds what a linear search finds.
func TestPrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab/]{0,4}`)
		var grants []grant
		for _, p := range rapid.SliceOfN(text, 0, 8).Draw(t, "prefixes") {
			grants = append(grants, grant{p, "policy " + p})
		}
		p := compilePrefixes(grants)
		key := text.Draw(t, "key")
		want := false
		for _, g := range grants {
			want = want || strings.HasPrefix(key, g.prefix)
		}
		g, ok := p.find(key)
		if ok != want || ok && (!strings.HasPrefix(key, g.prefix) || g.policy != "policy "+g.prefix) {
			t.Errorf("%q in %v: %v, %t, want %t", key, p, g, ok, want)
		}
		for i, prefix := range p.below(key) {
			if !strings.HasPrefix(prefix, key) || i > 0 && strings.HasPrefix(prefix, p.below(key)[i-1]) {
				t.Errorf("%q is in the list below %q: %v", prefix, key, p.below(key))
			}
		}
		for _, g := range grants { // everything that is allowed below key is below one of the list
			if !strings.HasPrefix(g.prefix, key) {
				continue
			}
			covered := false
			for _, prefix := range p.below(key) {
				covered = covered || strings.HasPrefix(g.prefix, prefix)
			}
			if _, all := p.find(key); !covered && !all {
				t.Errorf("%q is missing in the list below %q: %v", g.prefix, key, p.below(key))
			}
		}
	})
}
