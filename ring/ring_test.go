package ring

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestBuildRefuses(t *testing.T) {
	two := viewOf(2, "a", "b")
	change := func(f func(*View)) View {
		v := two.Clone()
		f(&v)
		return v
	}
	tests := []struct {
		name       string
		view       View
		partitions int
		want       error
		says       string
	}{
		{"no placement", change(func(v *View) { v.Placement = 0 }), P, ErrPlacement, "rule 0"},
		{"a later placement", change(func(v *View) { v.Placement = Placement + 1 }), P, ErrPlacement, "rule 2"},
		{"no partitions", two, 0, ErrView, "0 partitions"},
		{"negative partitions", two, -1, ErrView, "-1 partitions"},
		{"too many partitions", two, MaxPartitions + 1, ErrView, "65537 partitions"},
		{"no id", change(func(v *View) { v.Members[1].ID = "" }), P, ErrView, `"node-1" has no id`},
		{"one id twice", viewOf(2, "a", "b", "a"), P, ErrView, `id "a"`},
		{"one id twice, one leaving", func() View {
			v := viewOf(2, "a", "b", "a")
			v.Members[2].Leaving = true
			return v
		}(), P, ErrView, `id "a"`},
		{"no replicas", viewOf(0, "a"), P, ErrView, "0 replicas"},
		{"negative replicas", viewOf(-1), P, ErrView, "-1 replicas"},
		{"too many members", viewOf(2, make([]string, MaxMembers+1)...), P, ErrView, "257 members"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Build(tt.view, tt.partitions)
			if !errors.Is(err, tt.want) || r != nil {
				t.Fatalf("Build = %v, %v, want nil and %v", r, err, tt.want)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
		})
	}
}

func TestEmptyRing(t *testing.T) {
	gone := viewOf(2, "a", "b")
	for i := range gone.Members {
		gone.Members[i].Leaving = true
	}
	for name, v := range map[string]View{
		"no members":               viewOf(0),
		"replicas, but no members": viewOf(3),
		"all leaving":              gone,
	} {
		t.Run(name, func(t *testing.T) {
			r := build(t, v, P)
			if m, ok := r.Owner(r.Partition("k")); ok || m.ID != "" {
				t.Errorf("Owner = %v, true, want none", m)
			}
			if got := r.Replicas(0); len(got) != 0 {
				t.Errorf("Replicas = %v, want none", got)
			}
			for _, m := range v.Members {
				if r.Owned(m.Identity) != nil || r.Backed(m.Identity) != nil || r.Position(0, m.Identity) != -1 {
					t.Errorf("%v has partitions of an empty ring", m.ID)
				}
			}
			if r.Partitions() != P || r.Epoch() != 7 {
				t.Errorf("P = %d, epoch = %d, want %d and 7", r.Partitions(), r.Epoch(), P)
			}
		})
	}
}

func TestReplicasNeverMoreThanMembers(t *testing.T) {
	for n := 1; n <= 4; n++ {
		for replicas := 1; replicas <= 5; replicas++ {
			r := build(t, viewOf(replicas, memberIDs(1, n)...), 64)
			for p := range r.Partitions() {
				if got, want := len(r.Replicas(p)), min(n, replicas); got != want {
					t.Fatalf("%d members, R=%d: %d replicas, want %d", n, replicas, got, want)
				}
			}
		}
	}
}

func TestOutOfRange(t *testing.T) {
	r := build(t, viewOf(2, "a", "b"), 8)
	id := r.View().Members[0].Identity
	for _, p := range []uint32{8, 9, 1 << 31, 1<<32 - 1} {
		if _, ok := r.Owner(p); ok || r.Replicas(p) != nil || r.Position(p, id) != -1 {
			t.Errorf("partition %d of 8 has an owner", p)
		}
	}
}

// What a ring says must all come from one table.
func TestViewsOfTheTable(t *testing.T) {
	v := viewOf(3, memberIDs(3, 6)...)
	v.Members[2].Leaving = true
	r := build(t, v, P)
	owns, backs := 0, 0
	for _, m := range v.Members {
		for _, p := range r.Owned(m.Identity) {
			owns++
			if got, ok := r.Owner(p); !ok || got != m || r.Position(p, m.Identity) != 0 {
				t.Fatalf("%s says it owns %d, whose owner is %v", m.ID, p, got)
			}
		}
		for _, p := range r.Backed(m.Identity) {
			backs++
			if i := slices.Index(r.Replicas(p), m); i < 1 || r.Position(p, m.Identity) != i {
				t.Fatalf("%s says it backs %d, whose replicas are %v", m.ID, p, replicaIDs(r, p))
			}
		}
		other := m.Identity
		other.Counter++
		if r.Owned(other) != nil || r.Backed(other) != nil {
			t.Errorf("another incarnation of %s has its partitions", m.ID)
		}
	}
	if owns != P || backs != 2*P {
		t.Errorf("members own %d and back %d, want %d and %d", owns, backs, P, 2*P)
	}
	if r.Owned(v.Members[2].Identity) != nil || r.Backed(v.Members[2].Identity) != nil {
		t.Error("a leaving member is on the ring")
	}
	if !slices.IsSorted(r.Owned(v.Members[0].Identity)) || !slices.IsSorted(r.Backed(v.Members[0].Identity)) {
		t.Error("partitions are out of order")
	}
}

// The caller's view may change after Build; the ring may not.
func TestRingIsImmutable(t *testing.T) {
	v := viewOf(2, "a", "b", "c")
	r := build(t, v, 16)
	before := replicaIDs(r, 3)
	for i := range v.Members {
		v.Members[i] = Member{Identity: Identity{ID: "x"}}
	}
	if got := replicaIDs(r, 3); !slices.Equal(got, before) || r.View().Members[0].ID != "a" {
		t.Errorf("the ring changed with the caller's view: %v, was %v", got, before)
	}
	// An append to what was handed out must not reach the table.
	_ = append(r.Replicas(3), Member{})
	if set := r.Replicas(3); cap(set) != len(set) {
		t.Errorf("replica set has room for %d more", cap(set)-len(set))
	}
}

func TestRequestPathDoesNotAllocate(t *testing.T) {
	r := build(t, viewOf(3, memberIDs(1, 5)...), P)
	id := r.View().Members[0].Identity
	if n := testing.AllocsPerRun(100, func() {
		p := r.Partition("orders/42")
		if _, ok := r.Owner(p); !ok {
			t.Error("no owner")
		}
		if len(r.Replicas(p)) != 3 || r.Position(p, id) > 2 {
			t.Error("not three replicas")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
