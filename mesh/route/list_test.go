package route

import (
	"testing"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
)

// An owner's parts make a page that passes over nothing.
func TestMergePages(t *testing.T) {
	lock := func(keys ...string) (l []sharelock.KeyState) {
		for _, k := range keys {
			l = append(l, sharelock.KeyState{Key: k})
		}
		return l
	}
	p := merge([]owner.Listing{
		{Locks: lock("a", "d"), More: true}, {Locks: lock("b", "c", "e", "f")}, {Quarantined: 2},
	}, 10)
	got := ""
	for _, l := range p.Locks {
		got += l.Key
	}
	if got != "abcd" || p.NextPageToken == "" || p.Quarantined != 2 {
		t.Errorf("page has %s, next %q, quarantined %d: want abcd, a next page, 2", got, p.NextPageToken, p.Quarantined)
	}
	if p := merge([]owner.Listing{{Locks: lock("a", "c")}, {Locks: lock("b")}}, 3); len(p.Locks) != 3 || p.NextPageToken != "" {
		t.Errorf("last page has %d locks, next %q", len(p.Locks), p.NextPageToken)
	}
	if p := merge([]owner.Listing{{Locks: lock("a", "c")}, {Locks: lock("b")}}, 2); len(p.Locks) != 2 || p.Locks[1].Key != "b" || p.NextPageToken == "" {
		t.Errorf("first page is %+v", p)
	}
}
