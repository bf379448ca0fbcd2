package ring

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// The vectors of hash.go, for everybody who computes partitions elsewhere.
func TestGoldenHash(t *testing.T) {
	var b strings.Builder
	b.WriteString("# key, partition of 1, 7, 1024 and 65536\n")
	for _, key := range []string{
		"a", "b", "orders/42", "orders/43", "ключ", "🔒", " ", "a\nb",
		strings.Repeat("k", 31), strings.Repeat("k", 32), strings.Repeat("k", 512),
	} {
		fmt.Fprintf(&b, "%-40.40q", key)
		for _, n := range []uint32{1, 7, 1024, 65536} {
			fmt.Fprintf(&b, " %5d", PartitionOf(key, n))
		}
		b.WriteByte('\n')
	}
	b.WriteString("# point of a member: id, index, hash\n")
	for _, i := range []int{0, 1, 9, 10, 99} {
		h, _ := pointHash(nil, "4f1d8a30b7c9e265", i)
		fmt.Fprintf(&b, "4f1d8a30b7c9e265 %2d %016x\n", i, h)
	}
	b.WriteString("# start of a partition: partition, hash\n")
	for _, p := range []uint32{0, 1, 255, 256, 65535} {
		fmt.Fprintf(&b, "%5d %016x\n", p, startHash(p))
	}
	fmt.Fprintf(&b, "# circle of members: id, hash\n4f1d8a30b7c9e265 %016x\n", memberHash("4f1d8a30b7c9e265"))
	golden(t, "hash-1.txt", b.String())
}

// Whole rings with few partitions, to be read as a diff, and the digests of
// rings of a usual size.
func TestGoldenPlacement(t *testing.T) {
	var b strings.Builder
	for _, n := range []int{1, 2, 3, 5} {
		ids := memberIDs(2025, n)
		r := build(t, viewOf(3, ids...), 32)
		fmt.Fprintf(&b, "%d members, R=3, 32 partitions: owner and backups as places in this list\n", n)
		for i, id := range ids {
			fmt.Fprintf(&b, "  %d = %s\n", i, id)
		}
		for p := range r.Partitions() {
			fmt.Fprintf(&b, "  %2d:", p)
			for _, i := range r.indices(p) {
				fmt.Fprintf(&b, " %d", i)
			}
			b.WriteByte('\n')
		}
	}
	b.WriteString("digests of all replica sets, 1024 partitions\n")
	for _, n := range []int{1, 2, 3, 5, 10, 16, 17, 40} {
		for _, replicas := range []int{1, 2, 3, 5} {
			r := build(t, viewOf(replicas, memberIDs(2025, n)...), P)
			d := xxhash.New()
			for p := range r.Partitions() {
				for _, id := range replicaIDs(r, p) {
					fmt.Fprintf(d, "%s ", id)
				}
			}
			fmt.Fprintf(&b, "  %2d members R=%d %016x\n", n, replicas, d.Sum64())
		}
	}
	golden(t, "placement-1.txt", b.String())
}
