package testcluster

import (
	"errors"
	"testing"

	"github.com/sgkandale/sharelock/internal/cluster"
)

// Users find the type of this package in what Check returns, however it was joined.
func TestViolationsAreExported(t *testing.T) {
	plain := errors.New("plain")
	for _, tc := range []struct {
		name string
		in   error
		want []Invariant
		also error
	}{
		{"nothing", errors.Join(nil, nil), nil, nil},
		{"one", &cluster.ViolationError{Invariant: cluster.Fair, What: "w"}, []Invariant{Fair}, nil},
		{
			"joined twice", errors.Join(
				errors.Join(&cluster.ViolationError{Invariant: cluster.NoLeaks, What: "w"}), plain,
				errors.Join(&cluster.ViolationError{Invariant: cluster.OneHolder, What: "w"}),
			),
			[]Invariant{NoLeaks, OneHolder},
			plain,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := exported(tc.in)
			if len(tc.want) == 0 && got != nil {
				t.Fatal(got)
			}
			if tc.also != nil && !errors.Is(got, tc.also) {
				t.Errorf("%v is not among %v", tc.also, got)
			}
			var found []Invariant
			var walk func(err error)
			walk = func(err error) {
				if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // it is walked
					for _, e := range joined.Unwrap() {
						walk(e)
					}
				}
				if v, ok := err.(*ViolationError); ok { //nolint:errorlint // it is walked
					if found = append(found, v.Invariant); v.Error() != string(v.Invariant)+": w" {
						t.Errorf("it says %q", v)
					}
				}
			}
			walk(got)
			if len(found) != len(tc.want) {
				t.Fatalf("got %v, want %v", found, tc.want)
			}
			for i := range found {
				if found[i] != tc.want[i] {
					t.Errorf("got %v, want %v", found, tc.want)
				}
			}
		})
	}
}

// The options and invariants of this package are those of the cluster behind it.
func TestOptions(t *testing.T) {
	in := Options{Nodes: 2, Net: Memory, Seed: 7, Without: []Invariant{Linearizable}}.internal()
	if in.Nodes != 2 || in.Net != cluster.Memory || in.Seed != 7 || in.Without[0] != cluster.Linearizable {
		t.Errorf("%+v", in)
	}
	if in := (Options{}).internal(); in.Net != cluster.Loopback {
		t.Errorf("%+v", in)
	}
	for _, pair := range [][2]string{
		{string(OneHolder), string(cluster.OneHolder)},
		{string(TokensGrow), string(cluster.TokensGrow)},
		{string(OneGrant), string(cluster.OneGrant)},
		{string(Fair), string(cluster.Fair)},
		{string(OneOwner), string(cluster.OneOwner)},
		{string(Linearizable), string(cluster.Linearizable)},
		{string(Consistent), string(cluster.Consistent)},
		{string(NoLeaks), string(cluster.NoLeaks)},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%q is %q behind it", pair[0], pair[1])
		}
	}
}
