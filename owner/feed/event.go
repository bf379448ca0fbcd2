package feed

import "github.com/sgkandale/sharelock"

// An Event is what a member tells of a key that it owns, and where that stands in the log of the
// key's partition. Events of one epoch are told in the order of the log. An Event is shared by all
// that it is told to and must not be changed.
type Event struct {
	sharelock.Event
	Partition, Epoch uint32
	Seq              uint64
}

// Place returns where the event stands in the log.
func (e *Event) Place() Cursor { return Cursor{Epoch: e.Epoch, Seq: e.Seq} }
