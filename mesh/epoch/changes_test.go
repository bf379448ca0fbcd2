package epoch

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/ring"
)

func TestChangesOf(t *testing.T) {
	view := func(release uint32, members ...string) ring.View {
		v := ring.View{Release: release}
		for _, m := range members {
			name, state, _ := strings.Cut(m, " ")
			v.Members = append(v.Members, ring.Member{
				Identity: ring.Identity{ID: name}, Leaving: state != "", Evicted: state == "marked",
			})
		}
		return v
	}
	for _, tt := range []struct {
		before, after ring.View
		want          []string
	}{
		{view(1, "a"), view(1, "a"), []string{ChangeEpoch}},
		{view(1, "a"), view(2, "a", "b"), []string{ChangeJoined, ChangeRelease}},
		{view(1, "a", "b"), view(1, "a"), []string{ChangeRemoved}},
		{view(1, "a", "b leaving"), view(1, "a"), []string{ChangeLeft}},
		{view(1, "a", "b"), view(1, "a", "b leaving"), []string{ChangeLeaving}},
		{view(1, "a", "b"), view(1, "a", "b marked"), []string{ChangeMarked}},
		{view(1, "a", "b marked"), view(1, "a", "b"), []string{ChangeUnmarked}},
		{view(1, "a", "b", "c leaving"), view(1, "b", "d"), []string{ChangeJoined, ChangeLeft, ChangeRemoved}},
	} {
		got := slices.Sorted(maps.Keys(changesOf(&View{View: tt.before}, tt.after)))
		if !slices.Equal(got, tt.want) {
			t.Errorf("from %v to %v: %v, want %v", tt.before, tt.after, got, tt.want)
		}
		for _, why := range got {
			if !slices.Contains(Changes, why) {
				t.Errorf("%q is not listed", why)
			}
		}
	}
	if got := changesOf(nil, view(1, "a")); !got[ChangeFirst] || len(got) != 1 {
		t.Errorf("the first view: %v", got)
	}
}
