package feed

import (
	"math"
	"slices"
)

// TailMost is about the number of last events that a partition keeps, for watches that are resumed.
const TailMost = 256

// A Tail holds the last events of a partition. It is kept only while a key of the partition is
// watched. Only the partition's shard uses it.
type Tail struct {
	// All events with sequence numbers from from+1 to last are in events.
	from, last uint64
	events     []*Event
}

// Add adds events.
func (t *Tail) Add(events []*Event) {
	t.events = append(t.events, events...)
	t.last = events[len(events)-1].Seq
	if more := len(t.events) - TailMost; more >= TailMost/4 {
		t.from = t.events[more-1].Seq
		t.events = slices.Delete(t.events, 0, more)
	}
}

// Cut drops all events up to a sequence number, which is that of the last one.
func (t *Tail) Cut(seq uint64) { *t = Tail{from: seq, last: seq} }

// After returns the events of a key after a sequence number. It returns false if some may be
// missing.
func (t *Tail) After(key string, seq uint64) (events []*Event, ok bool) {
	if seq < t.from || seq > t.last {
		return nil, false
	}
	for _, e := range t.events {
		if e.Seq > seq && e.Key == key {
			events = append(events, e)
		}
	}
	return events, true
}

// Lose drops all events: no watch can be resumed from before.
func (t *Tail) Lose() { *t = Tail{from: math.MaxUint64} }

// Last returns the sequence number of the last event.
func (t *Tail) Last() uint64 { return t.last }

// Len returns the number of events that are kept.
func (t *Tail) Len() int { return len(t.events) }
