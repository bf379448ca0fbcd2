package api

import (
	"errors"
	"slices"
	"testing"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// fakeDirect is a stream that notes what is sent on it and how. It accepts messages at once if open is
// set.
type fakeDirect struct {
	stream
	open    bool
	failing error
	calls   []string
	sent    []uint64 // the ids of the answers in what was sent
}

func (f *fakeDirect) CanTry() bool { return true }

func (f *fakeDirect) TrySend(message []byte) bool {
	f.calls = append(f.calls, "try")
	f.note(message)
	return f.open
}

func (f *fakeDirect) Flush() error {
	f.calls = append(f.calls, "flush")
	return f.failing
}

func (f *fakeDirect) Send(message []byte) error {
	f.calls = append(f.calls, "send")
	f.note(message)
	return f.failing
}

func (f *fakeDirect) note(message []byte) {
	var r sessionwire.ReplyReader
	r.Reset(message)
	var reply sessionwire.Reply
	for {
		more, err := r.Next(&reply)
		if err != nil || !more {
			return
		}
		f.sent = append(f.sent, reply.ID)
	}
}

// newDirect returns a session on a fake stream; greeted unless fresh.
func newDirect(open, fresh bool) (*session, *fakeDirect) {
	f := &fakeDirect{open: open}
	s := &session{
		stream: f, direct: f, greeted: !fresh,
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
	return s, f
}

// woken reports whether the writer was woken, and forgets it.
func woken(s *session) bool {
	select {
	case <-s.wake:
		return true
	default:
		return false
	}
}

// An answer between Hold and Flush is sent by Flush, and does not wake the writer.
func TestDirectAnswer(t *testing.T) {
	s, f := newDirect(true, false)
	s.Hold()
	s.Answer(1, sharelock.Hold{}, nil)
	if len(f.calls) > 0 || woken(s) {
		t.Fatalf("before Flush: %v, or the writer was woken", f.calls)
	}
	s.Flush()
	if !slices.Equal(f.calls, []string{"try"}) || !slices.Equal(f.sent, []uint64{1}) || woken(s) {
		t.Errorf("after Flush: %v of %v, or the writer was woken", f.calls, f.sent)
	}
	s.Hold()
	s.Flush()
	if len(f.calls) != 1 || woken(s) {
		t.Errorf("Flush without an answer: %v, or the writer was woken", f.calls)
	}
	s.Answer(2, sharelock.Hold{}, nil)
	if len(f.calls) != 1 || !woken(s) {
		t.Errorf("an answer without Hold: %v, or the writer was not woken", f.calls)
	}
}

// If Flush must not send, it wakes the writer, and the answer stays where it is.
func TestDirectLeavesItToTheWriter(t *testing.T) {
	for name, prepare := range map[string]func(s *session){
		"the writer is sending":      func(s *session) { s.sending.Lock() },
		"the stream must be flushed": func(s *session) { s.partial = true },
		"the writer has ended":       func(s *session) { s.finish() },
		"the session is not greeted": func(s *session) { s.greeted = false },
	} {
		s, f := newDirect(true, false)
		prepare(s)
		s.Hold()
		s.Answer(1, sharelock.Hold{}, nil)
		s.Flush()
		if len(f.calls) > 0 || !woken(s) || len(s.urgent) == 0 {
			t.Errorf("%s: %v, or the writer was not woken, or the answer is gone", name, f.calls)
		}
	}
}

// The writer sends the rest of a message that was sent in part before anything else.
func TestDirectPart(t *testing.T) {
	s, f := newDirect(false, false)
	s.Hold()
	s.Answer(1, sharelock.Hold{}, nil)
	s.Flush()
	if !woken(s) {
		t.Fatal("the writer was not woken for the rest")
	}
	s.Answer(2, sharelock.Hold{}, nil)
	if sent, _, err := s.sendNext(); !sent || err != nil {
		t.Fatalf("sent %t, %v", sent, err)
	}
	if !slices.Equal(f.calls, []string{"try", "flush", "send"}) || !slices.Equal(f.sent, []uint64{1, 2}) {
		t.Errorf("%v of %v", f.calls, f.sent)
	}
	f.calls = nil
	s.Hold()
	s.Answer(3, sharelock.Hold{}, nil)
	s.Flush()
	f.failing = errors.New("broken")
	if _, _, err := s.sendNext(); !errors.Is(err, f.failing) || !slices.Equal(f.calls, []string{"try", "flush"}) {
		t.Errorf("with a broken stream: %v, %v", f.calls, err)
	}
}

// The first message of a session says that it has watches, so the writer sends it.
func TestDirectFirstMessage(t *testing.T) {
	s, f := newDirect(true, true)
	s.Hold()
	s.Answer(1, sharelock.Hold{}, nil)
	s.Flush()
	if _, _, err := s.sendNext(); err != nil || !slices.Equal(f.calls, []string{"send"}) || !s.greeted {
		t.Errorf("%v, %v, greeted %t", f.calls, err, s.greeted)
	}
	s.Hold()
	s.Answer(2, sharelock.Hold{}, nil)
	s.Flush()
	if !slices.Equal(f.calls, []string{"send", "try"}) {
		t.Errorf("the second answer: %v", f.calls)
	}
}

// A grant whose answer was sent at once is not released when the session ends. One whose answer was sent in
// part is, and so is one behind a failed send.
func TestDirectGrant(t *testing.T) {
	acquire := []sessionwire.Call{{ID: 1, Kind: sessionwire.CallAcquire}}
	answer := func(s *session) {
		s.unsent.Begin(acquire)
		s.Hold()
		s.Answer(1, sharelock.Hold{Key: "k", Token: 1}, nil)
		s.Flush()
	}
	for open, want := range map[bool]int{true: 0, false: 1} {
		s, _ := newDirect(open, false)
		answer(s)
		if left := s.unsent.Close(); len(left) != want {
			t.Errorf("accepted %t: %v is released, want %d", open, left, want)
		}
	}
	s, f := newDirect(true, true)
	f.failing = errors.New("broken")
	answer(s)
	if _, _, err := s.sendNext(); !errors.Is(err, f.failing) {
		t.Fatal(err)
	}
	s.Hold()
	s.Answer(2, sharelock.Hold{}, nil)
	s.Flush()
	if left := s.unsent.Close(); len(left) != 1 || len(f.calls) != 1 {
		t.Errorf("after a failed send: %v is released, and the stream was used again: %v", left, f.calls)
	}
}

// What is waiting behind the message that Flush has sent is left to the writer.
func TestDirectLeavesMore(t *testing.T) {
	s, f := newDirect(true, false)
	s.Hold()
	for id := range uint64(20000) {
		s.Answer(id, sharelock.Hold{Token: 1}, nil)
	}
	s.Flush()
	if len(s.fullUrgent)+len(s.urgent) == 0 || len(f.calls) != 1 {
		t.Fatalf("the test fills only one message, or more than one was sent: %v", f.calls)
	}
	if !woken(s) {
		t.Error("the writer was not woken for the rest")
	}
}
