package api

import (
	"slices"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// What became of holds, and grants, leave before refusals that came earlier, which go in
// pieces.
func TestUrgentAnswersLeaveFirst(t *testing.T) {
	s := &session{wake: make(chan struct{}, 1), pending: 2001}
	held := &sharelock.Error{Err: sharelock.ErrLockHeld, Holds: slices.Repeat([]sharelock.Hold{{
		Key: "k", Token: 1, ClientID: strings.Repeat("c", 100), RequestID: "r",
	}}, sharelock.MaxHolders)}
	for id := range uint64(2000) {
		s.Answer(id, sharelock.Hold{}, held)
	}
	s.Renewed(7, []uint64{1, 2, 3})
	s.Ended(4, &sharelock.Error{Err: sharelock.ErrStaleToken})
	s.Forced("k", 5, "why")
	s.Answer(9999, sharelock.Hold{Token: 6}, nil)

	first, _ := s.takeOut()
	var (
		kept    pb.KeptReader
		k       pb.Kept
		answers pb.ReplyReader
		a       pb.Reply
	)
	news := 0
	for kept.Reset(first); ; news++ {
		more, err := kept.Next(&k)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
	}
	if news != 5 {
		t.Errorf("the first message tells of %d holds, want 5", news)
	}
	granted := false
	for answers.Reset(first); ; granted = granted || a.ID == 9999 {
		if more, err := answers.Next(&a); err != nil || !more {
			break
		}
	}
	if !granted {
		t.Error("the grant is not in the first message")
	}
	for {
		data, _ := s.takeOut()
		if data == nil {
			break
		}
		if len(data) > fullMessage+5000 {
			t.Errorf("a message has %d bytes", len(data))
		}
	}
}
