package ring

import (
	"fmt"
	"testing"
)

// BenchmarkBuild is the cost of a new view at every member.
func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{3, 5, 10, 16, 17, 50, 100} {
		for _, replicas := range []int{1, 2, 3} {
			b.Run(fmt.Sprintf("members=%d/R=%d", n, replicas), func(b *testing.B) {
				v := viewOf(replicas, memberIDs(1, n)...)
				b.ReportAllocs()
				for b.Loop() {
					build(b, v, P)
				}
			})
		}
	}
}

// BenchmarkLocate is the cost of a lookup for every request.
func BenchmarkLocate(b *testing.B) {
	r := build(b, viewOf(2, memberIDs(1, 5)...), P)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := r.Owner(r.Partition("tenant-7/orders/42")); !ok {
			b.Fatal("no owner")
		}
	}
}
