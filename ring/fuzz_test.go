package ring

import (
	"strings"
	"testing"
)

// A view may come from a member of another release. For every view, Build returns a complete ring
// or an error.
func FuzzBuild(f *testing.F) {
	f.Add("a,b,c", "", 3, 64, Placement)
	f.Add("a,b,c", "b", 2, 1, Placement)
	f.Add("a", "a", 0, 8, Placement)
	f.Add("1:1,11:,:1", "", 9, 271, Placement)
	f.Add("a,a", "", 2, 8, Placement)
	f.Add("", "", -1, -1, 2)
	f.Fuzz(func(t *testing.T, ids, leaving string, replicas, partitions, placement int) {
		if strings.Count(ids, ",") > 64 || partitions > 4096 {
			t.Skip("only slow")
		}
		v := viewOf(replicas, strings.Split(ids, ",")...)
		v.Placement = placement
		for i := range v.Members {
			v.Members[i].Leaving = v.Members[i].ID == leaving
		}
		r, err := Build(v, partitions)
		if err != nil {
			if r != nil {
				t.Fatalf("a ring and %v", err)
			}
			return
		}
		total := 0
		for _, m := range v.Members {
			total += len(r.Owned(m.Identity)) + len(r.Backed(m.Identity))
		}
		if want := len(r.Replicas(0)) * partitions; total != want {
			t.Fatalf("members hold %d copies of %d partitions, want %d", total, partitions, want)
		}
	})
}
