package view

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/invariant"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// A leader that is alone in its view and has just taken over waits for the other voters: they may
// have left the view, and may not have asked it yet to be let go (V7).
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

// All members were told to stop, and a process asks to join that can be admitted. It is admitted
// first, because it keeps what they hold and can take a seat (V7).
func TestJoinerComesInBeforeAllStop(t *testing.T) {
	b := newBench(t, "a")
	b.Leader.told(b.identity("a"), &peerv1.RenewRequest{Leaving: true}, 0)
	b.asks(0, "b", "b", 1)
	b.vote("a")
	if !b.closes(0, b.view) {
		t.Error("the members wait for a process that cannot be admitted")
	}
	b.stops.closing = false
	b.asks(0, "b", "b", 1, "a")
	if b.closes(0, b.view) {
		t.Error("all stop although a process can be admitted")
	}
	b.want(0, "b joins", "a b")
}

// A process that has left the view is let go when no change of the seats is in progress: committing
// the change may need its vote, even if its vote is not needed afterwards (V7).
func TestLetGoWhenSettled(t *testing.T) {
	b := newBench(t, "a")
	b.vote("a b c")
	who := ring.Identity{ID: "d", Counter: 1}
	done := &peerv1.RenewRequest{Leaving: true, Done: true}
	b.Leader.told(who, done, 0)
	raft := b.agree.(*proc)
	raft.settled = errors.New("a change is under way")
	e := electorateOf("a b c", "a b c", "d.", "a b c", "")
	if b.letGo(t.Context(), e) || b.mayStop(who, done, time.Second) {
		t.Errorf("%s: a process is let go while a change of the seats is in progress", invariant.LiveStay)
	}
	raft.settled = nil
	if !b.letGo(t.Context(), e) || !b.mayStop(who, done, time.Second) {
		t.Error("a process is not let go when the seats are settled")
	}
}

// Processes that were let go are forgotten a while after they last asked, unless all members stop.
func TestLetGoIsForgotten(t *testing.T) {
	b := newBench(t, "a")
	who := ring.Identity{ID: "d", Counter: 1}
	done := &peerv1.RenewRequest{Leaving: true, Done: true}
	b.stops.gone[who] = 0
	asked := goneFor / 2
	if !b.mayStop(who, done, asked) {
		t.Error("the answer is not repeated")
	}
	b.keepStandings(asked+goneFor, b.view)
	if !b.mayStop(who, done, asked) {
		t.Error("it is forgotten too soon")
	}
	b.stops.closing = true
	b.keepStandings(asked+2*goneFor, b.view)
	if len(b.stops.gone) != 1 {
		t.Error("it is forgotten while all stop")
	}
	b.stops.closing = false
	b.keepStandings(asked+2*goneFor, b.view)
	if len(b.stops.gone) != 0 {
		t.Error("it is never forgotten")
	}
}

// A change of the seats that fails again and again is logged once in failedEvery leases.
func TestFailedChangeIsLoggedOnce(t *testing.T) {
	b := newBench(t, "a")
	errRefused := errors.New("refused")
	var text bytes.Buffer
	b.log = slog.New(slog.NewTextHandler(&text, nil))
	for range 40 {
		b.sayFailed(Change{changeTransfer, "b"}, errRefused)
		b.time += lease / 20
	}
	b.sayFailed(Change{changeTransfer, "c"}, errRefused)
	b.time += failedEvery * lease
	b.sayFailed(Change{changeTransfer, "c"}, errRefused)
	if got := strings.Count(text.String(), "\n"); got != 3 {
		t.Errorf("%d lines, want 3:\n%s", got, text.String())
	}
}
