package owner

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock"
)

// A list that is cut while it is put together, because of its bytes, shows no key behind one
// that it has left out: the next page would pass that one over.
func TestCutListHasNoGaps(t *testing.T) {
	var l Listing
	large := []sharelock.Hold{{Metadata: map[string]string{"m": strings.Repeat("x", 60<<10)}}}
	for i := range 40 {
		l.Locks = append(l.Locks, sharelock.KeyState{Key: fmt.Sprintf("a%02d", i), Holds: large})
	}
	l.Cut(100)
	shown := len(l.Locks)
	if shown == 0 || shown == 40 || !l.More {
		t.Fatalf("%d of 40 locks are shown, more %t", shown, l.More)
	}
	l.Locks = append(l.Locks, sharelock.KeyState{Key: "b"})
	if l.Cut(100); len(l.Locks) != shown || !l.More {
		t.Errorf("%d locks are shown, the last is %q", len(l.Locks), l.Locks[len(l.Locks)-1].Key)
	}
	// What comes before it is still taken.
	l.Locks = append(l.Locks, sharelock.KeyState{Key: "a001"})
	if l.Cut(100); len(l.Locks) != shown+1 {
		t.Errorf("%d locks are shown, want %d", len(l.Locks), shown+1)
	}
}

// A list stays within its bytes.
func TestListIsBounded(t *testing.T) {
	l := sharelock.KeyState{HoldCount: 1000}
	for range 8 {
		l.Holds = append(l.Holds, sharelock.Hold{Key: "k", ClientID: "c", Metadata: map[string]string{"m": strings.Repeat("x", 2000)}})
	}
	var list Listing
	for i := range 1000 {
		l.Key = fmt.Sprintf("%04d", i)
		list.Locks = append(list.Locks, l)
	}
	list.Cut(1000)
	if list.size > listBytes || !list.More || len(list.Locks) < 10 {
		t.Errorf("%d locks of %d bytes are listed, more %t", len(list.Locks), list.size, list.More)
	}
}
