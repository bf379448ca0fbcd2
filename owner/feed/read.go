package feed

import (
	"context"
	"errors"
	"fmt"

	"github.com/sgkandale/sharelock"
)

// ErrClosed means that a feed was closed.
var ErrClosed = errors.New("the feed is closed")

// A Reader reads state for feeds. It passes the parts of the result to Feed.Pass.
type Reader interface {
	Read(ctx context.Context, f *Feed, r Read)
}

// A Read asks for the current state of a key, or of the keys with a prefix in some partitions.
type Read struct {
	// ID is chosen by the caller. All parts of the result have it.
	ID uint64
	// Epoch is the epoch in which to read. In any other epoch the read fails with ErrBehind.
	Epoch uint32
	Target
	// After, if Resume is set, is the sequence number of the last event of Key that the caller has
	// seen in this epoch. If all later events are known, they are the result instead of snapshots.
	Resume bool
	After  uint64
	// Partitions are read one after the other. The read may end before all are read.
	Partitions []uint32
}

// A Part is a part of the result of a Read.
type Part struct {
	ID        uint64
	Partition uint32
	Epoch     uint32
	// Seq, in the read of a key, is the sequence number up to which the part includes all events.
	Seq uint64
	// Events are snapshots or, if Resumed is set, the events after Read.After.
	Events  []*Event
	Resumed bool
	// Done is set in the last part of a partition. Last is set in the last part of all.
	Done, Last bool
	// Quarantined is set if the state of the partition was lost, so that holds may exist that are
	// not shown.
	Quarantined bool
	// Err is why the read failed. A part with an Err is the last.
	Err error
}

// Snapshots returns events that show the state of a key. The last one says how many holds and
// waiters are not shown, because there are too many.
func Snapshots(l *sharelock.KeyState, at Event) []*Event {
	list := make([]*Event, 0, len(l.Holds)+len(l.Waiters))
	at.Type, at.Key, at.Waiters = sharelock.Snapshot, l.Key, l.WaiterCount
	for i := range l.Holds {
		h, e := &l.Holds[i], at
		e.Token, e.ClientID, e.Principal, e.Mode = h.Token, h.ClientID, h.Principal, h.Mode
		list = append(list, &e)
	}
	for i := range l.Waiters {
		w, e := &l.Waiters[i], at
		e.ClientID, e.Principal, e.Mode = w.ClientID, w.Principal, w.Mode
		list = append(list, &e)
	}
	holds, waiters := l.HoldCount-len(l.Holds), l.WaiterCount-len(l.Waiters)
	if len(list) > 0 && holds+waiters > 0 {
		list[len(list)-1].Reason = fmt.Sprintf("%d more holds and %d more waiters are not shown", max(holds, 0), max(waiters, 0))
	}
	return list
}
