package release_test

import (
	"errors"
	"testing"

	"github.com/sgkandale/sharelock/internal/release"
)

func TestCommon(t *testing.T) {
	for _, c := range []struct {
		a, b release.Range
		want uint32
		ok   bool
	}{
		{release.Range{Oldest: 1, Newest: 1}, release.Range{Oldest: 1, Newest: 1}, 1, true},
		{release.Range{Oldest: 1, Newest: 2}, release.Range{Oldest: 1, Newest: 1}, 1, true},
		{release.Range{Oldest: 1, Newest: 4}, release.Range{Oldest: 2, Newest: 3}, 3, true},
		{release.Range{Oldest: 2, Newest: 3}, release.Range{Oldest: 1, Newest: 1}, 0, false},
		{release.Range{Oldest: 1, Newest: 1}, release.Range{Oldest: 2, Newest: 3}, 0, false},
		{release.Range{Oldest: 1, Newest: 1}, release.Range{}, 0, false}, // before release 1
	} {
		got, ok := c.a.Common(c.b)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("common release of %v and %v: %d, %t, want %d, %t", c.a, c.b, got, ok, c.want, c.ok)
		}
	}
}

func TestCheck(t *testing.T) {
	for n := uint32(release.Oldest); n <= release.Current; n++ {
		if err := release.Own().Check(n); err != nil {
			t.Errorf("Check(%d) = %v", n, err)
		}
	}
	for n, want := range map[uint32]error{release.Oldest - 1: release.ErrOlder, release.Current + 1: release.ErrNewer} {
		if err := release.Own().Check(n); !errors.Is(err, want) {
			t.Errorf("Check(%d) = %v, want %v", n, err, want)
		}
	}
}
