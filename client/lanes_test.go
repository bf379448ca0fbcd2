package client

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

// Many locks are attached while nothing can be sent, as after the end of a session: no
// message is larger than nodes take.
func TestAttachesAreSplitIntoMessages(t *testing.T) {
	const n = 100_000
	st := &stream{s: &session{now: func() time.Duration { return time.Second }}, wake: make(chan struct{}, 1), calls: map[uint64]*exchange{}}
	for i := range uint64(n) {
		if !st.attach(i+1, &Lock{key: fmt.Sprint("some/rather/long/key/", i), token: 1 << 40}, time.Minute) {
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
