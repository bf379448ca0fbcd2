package prefixes_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/internal/prefixes"
)

// A set finds the same prefixes as a linear search.
func TestOf(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		b := make([]byte, r.IntN(6))
		for i := range b {
			b[i] = "ab"[r.IntN(2)]
		}
		return string(b)
	}
	var s prefixes.Set[string]
	all := map[string]bool{}
	for range 2000 {
		if p := word(); r.IntN(2) == 0 {
			s.Put(p, p)
			all[p] = true
		} else {
			s.Delete(p)
			delete(all, p)
		}
		key := word()
		var got, want []string
		s.Of(key, func(p string) bool {
			got = append(got, p)
			return true
		})
		for p := range all {
			if strings.HasPrefix(key, p) {
				want = append(want, p)
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) || s.Any(key) != (len(want) > 0) || s.Len() != len(all) {
			t.Fatalf("%q has %q, want %q of %v", key, got, want, all)
		}
	}
}

// BenchmarkOf looks up a key that has one of many prefixes.
func BenchmarkOf(b *testing.B) {
	for _, n := range []int{1, 20_000} {
		b.Run(fmt.Sprint("prefixes=", n), func(b *testing.B) {
			var s prefixes.Set[int]
			for i := range n {
				s.Put(fmt.Sprintf("tenant/%d/", i), i)
			}
			for b.Loop() {
				if !s.Any("tenant/0/orders/42") {
					b.Fatal("not found")
				}
			}
		})
	}
}
