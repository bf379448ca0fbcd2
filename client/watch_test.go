package client

import (
	"testing"

	"github.com/sgkandale/sharelock"
)

// A watch is resumed where its program knows the state: not where it was before a reset or a move.
func TestWatchForgetsItsPlace(t *testing.T) {
	w := &watching{yield: func(sharelock.Event, error) bool { return true }}
	for _, step := range []struct {
		kind         sharelock.EventType
		cursor, want string
	}{
		{sharelock.Snapshot, "", ""},
		{sharelock.Synced, "5.1", "5.1"},
		{sharelock.Acquired, "5.2", "5.2"},
		{sharelock.Reset, "", ""},
		{sharelock.Snapshot, "", ""},
		{sharelock.Synced, "5.4", "5.4"},
		{sharelock.Moved, "", ""},
		{sharelock.Ping, "", ""},
		{sharelock.Synced, "6.1", "6.1"},
	} {
		if w.pass(sharelock.Event{Type: step.kind, Cursor: step.cursor}); w.request.Resume != step.want {
			t.Errorf("after %s with cursor %q it is resumed at %q, want %q", step.kind, step.cursor, w.request.Resume, step.want)
		}
	}
}
