package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

// testLock is a lock to be kept.
type testLock struct {
	key   string
	token sharelock.Token
}

// Key implements Lock.
func (l testLock) Key() string { return l.key }

// Token implements Lock.
func (l testLock) Token() sharelock.Token { return l.token }

// Many locks are attached while nothing can be sent, as after the end of a session: no
// message is larger than nodes take.
func TestAttachesAreSplitIntoMessages(t *testing.T) {
	const n = 100_000
	st := &stream{s: &Session{Config: Config{Now: func() time.Duration { return time.Second }}}, wake: make(chan struct{}, 1), calls: map[uint64]*exchange{}}
	for i := range uint64(n) {
		if !st.attach(i+1, testLock{fmt.Sprint("some/rather/long/key/", i), 1 << 40}, time.Minute) {
			t.Fatal("not attached")
		}
	}
	sent, beats := 0, 0
	for {
		data, next := st.take()
		if data == nil {
			break
		}
		if sent += len(data); len(data) > fullMessage+4096 {
			t.Fatalf("a message has %d bytes", len(data))
		}
		if next > 0 {
			beats++
		}
	}
	if sent < sharelock.MaxMessageBytes || beats != 1 {
		t.Errorf("%d bytes were sent, and a keepalive %d times", sent, beats)
	}
}

// Which keepalive a renewal counts from is known by its number; one that is too old,
// or was never sent, counts for nothing.
func TestSentAt(t *testing.T) {
	var a keeping
	for n := range 3 * maxSent {
		a.note(time.Duration(n + 1))
	}
	for n, want := range map[uint64]time.Duration{3 * maxSent: 3 * maxSent, 3*maxSent - 9: 3*maxSent - 9} {
		if got, ok := a.sentAt(n); !ok || got != want {
			t.Errorf("keepalive %d was sent at %v, %t, want %v", n, got, ok, want)
		}
	}
	for _, n := range []uint64{0, 1, maxSent, 3*maxSent + 1, 1<<64 - 1} {
		if got, ok := a.sentAt(n); ok {
			t.Errorf("keepalive %d was sent at %v", n, got)
		}
	}
	if len(a.sent) > maxSent {
		t.Errorf("%d sends are remembered", len(a.sent))
	}
}
