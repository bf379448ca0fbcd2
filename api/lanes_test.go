package api

import (
	"testing"

	"github.com/sgkandale/sharelock"
)

// All holds of a large session end while nothing can be sent: no message is larger than
// clients take.
func TestNewsIsSplitIntoMessages(t *testing.T) {
	const n = 100_000
	s := &session{wake: make(chan struct{}, 1)}
	for i := range uint64(n) {
		s.Ended(i+1, sharelock.ErrStaleToken)
	}
	sent := 0
	for {
		data, quiet := s.takeOut()
		if data == nil {
			if !quiet || s.fullBytes != 0 {
				t.Errorf("after all was sent: quiet %t, %d bytes are counted", quiet, s.fullBytes)
			}
			break
		}
		if sent += len(data); len(data) > fullMessage+4096 {
			t.Fatalf("a message has %d bytes", len(data))
		}
	}
	if sent < sharelock.MaxMessageBytes {
		t.Errorf("%d bytes were sent, fewer than one message may have", sent)
	}
}
