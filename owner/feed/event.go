package feed

import "github.com/sgkandale/sharelock"

// An Event is an event of a key that a member owns, with its place in the log of the key's
// partition. Events of one epoch are in the order of the log. All receivers share an Event, so it
// must not be changed.
type Event struct {
	sharelock.Event
	Partition, Epoch uint32
	Seq              uint64
}

// Place returns the place of the event in the log.
func (e *Event) Place() Cursor { return Cursor{Epoch: e.Epoch, Seq: e.Seq} }
