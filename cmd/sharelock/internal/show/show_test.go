package show

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

func TestCopies(t *testing.T) {
	for n, want := range map[int]string{0: "0 copies", 1: "1 copy", 2: "2 copies"} {
		var out strings.Builder
		if err := Mesh(&out, sharelock.MeshState{Partitions: 8, Replicas: n}); err != nil {
			t.Fatal(err)
		}
		if want = "8, " + want + ";"; !strings.Contains(out.String(), want) {
			t.Errorf("got %q, want %q in it", out.String(), want)
		}
	}
}

// A long queue is not listed completely.
func TestCounts(t *testing.T) {
	l := sharelock.KeyState{
		Key: "k", Owner: "a", HoldCount: 300, WaiterCount: 5000,
		Holds:   []sharelock.Hold{{Token: 7, ClientID: "w1", Slots: 300, TTL: time.Minute, ExpiresIn: time.Second}},
		Waiters: []sharelock.Waiter{{ClientID: "w2", Slots: 300}},
	}
	if got, want := lockRows([]sharelock.KeyState{l})[1], []string{"k", "w1 and 299 more", "7", "300 SLOTS", "1s", "5000", "a"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	var out strings.Builder
	if err := Key(&out, l); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"and 299 more", "and 4999 more"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %q, want %q in it", out.String(), want)
		}
	}
}
