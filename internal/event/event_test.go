package event_test

import (
	"testing"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/event"
)

// An event is encoded once in each form, for all watches that share it.
func TestEncodedOnce(t *testing.T) {
	encoded := 0
	encode := func(b []byte, e *sharelock.Event) []byte {
		encoded++
		return append(b, e.Key...)
	}
	for _, tt := range []struct {
		e    *event.Event
		want int
	}{
		{event.Shared(&sharelock.Event{Key: "k"}), 2},
		{event.New(&sharelock.Event{Key: "k"}), 6},
	} {
		encoded = 0
		for range 3 {
			if got := string(tt.e.Append([]byte("a"), event.Stream, encode)); got != "ak" {
				t.Errorf("appended: %q", got)
			}
			if got := string(tt.e.Form(event.Message, encode)); got != "k" {
				t.Errorf("the form is %q", got)
			}
		}
		if encoded != tt.want {
			t.Errorf("encoded %d times, want %d", encoded, tt.want)
		}
	}
}
