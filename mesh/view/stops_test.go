package view

import (
	"testing"

	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// A leader that is alone in its view, and has just taken over, waits for the other voters:
// they may have left the view and not have asked it yet to be let go (V7).
func TestLastWaitsForVotersThatHaveNotAsked(t *testing.T) {
	for _, seats := range []string{"a", "a b"} {
		b := newBench(t, "a")
		b.vote(seats)
		b.Leader.told(b.identity("a"), &peerv1.RenewRequest{Leaving: true}, 0)
		if !b.closes(0, b.view) {
			t.Fatal("all members were told to stop, and the leader does not know")
		}
		if got, want := b.dismissAll(0), seats == "a"; got != want {
			t.Errorf("with the seats %q the last stops at once: %t, want %t", seats, got, want)
		}
		if !b.dismissAll(lease / 4) {
			t.Errorf("with the seats %q the last does not stop after a while", seats)
		}
	}
}
