package watch

import (
	"slices"
	"testing"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/owner"
)

// takeBack takes back what waits for the reader and what it has taken; if there is neither, it
// queues nothing.
func TestTakeBack(t *testing.T) {
	b := &inbox{wake: wake.New()}
	reset := about(sharelock.Reset, "k", "the view of the mesh has changed")
	takes := func(want ...sharelock.EventType) {
		t.Helper()
		var got []sharelock.EventType
		for _, e := range b.take().events {
			got = append(got, e.Type)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the reader takes %v, want %v", got, want)
		}
	}
	shown := func() {
		b.begin(1)
		b.expect([]uint32{3})
		b.part(nil, &owner.Part{Partition: 3, Epoch: 1, Done: true, Events: []*owner.Event{
			{Event: sharelock.Event{Type: sharelock.Snapshot, Key: "k"}, Partition: 3, Epoch: 1, Seq: 1},
		}})
	}
	b.takeBack(reset, false)
	takes()
	shown()
	b.takeBack(reset, false)
	takes(sharelock.Snapshot, sharelock.Reset)
	shown()
	takes(sharelock.Snapshot)
	b.takeBack(reset, false)
	b.takeBack(reset, false)
	takes(sharelock.Reset)
	b.put(about(sharelock.Synced, "k", ""))
	b.takeBack(reset, false)
	takes(sharelock.Synced, sharelock.Reset)
}
