package owner

import (
	"fmt"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/pace"
	"github.com/sgkandale/sharelock/internal/prefixes"
	"github.com/sgkandale/sharelock/internal/wake"
)

// A Target is what is watched: one key or, if Key is empty, all keys that begin with Prefix.
type Target struct{ Key, Prefix string }

// News is something that a feed tells: an event, a part of what was read or, if both are nil, that
// events were left out.
type News struct {
	Event *Event
	Part  *Part
	// unsure is set if the event is told only if a prefix matches.
	unsure bool
}

// Lost reports whether events were left out, so that everything must be read again.
func (n News) Lost() bool { return n.Event == nil && n.Part == nil }

// A Feed is what one node is told of the partitions that this member owns. News must be taken; if
// too much waits, all of it is left out. All methods are safe for concurrent use.
type Feed struct {
	service *Service
	wake    wake.Signal

	mu    sync.Mutex
	queue newsQueue           // guarded by mu
	keys  map[string]struct{} // guarded by mu
	// patterns is the number of prefixes; guarded by mu.
	patterns int
	closed   bool // guarded by mu

	// matching guards the prefixes. It comes before mu, and is never taken in a shard's turn.
	matching sync.Mutex
	prefixes prefixes.Set[struct{}]

	// pace says how long Take rests, and quiet until when; only Take uses them.
	pace  pace.Pace
	quiet time.Time
}

// Feed returns a feed that watches nothing yet. The caller calls Close.
func (s *Service) Feed() *Feed {
	f := &Feed{service: s, wake: wake.New(), keys: map[string]struct{}{}, pace: pace.Pace{Credit: takeCredit}}
	s.watched.add(f)
	return f
}

// Watch adds a target. Everything that is decided afterwards is told. What was decided before is
// found out by Read.
func (f *Feed) Watch(t Target) {
	f.matching.Lock()
	defer f.matching.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.watches(t) {
		return
	}
	if t.Key != "" {
		f.keys[t.Key] = struct{}{}
	} else {
		f.prefixes.Put(t.Prefix, struct{}{})
		f.patterns++
	}
	f.count(t, 1)
}

// Unwatch removes a target.
func (f *Feed) Unwatch(t Target) {
	f.matching.Lock()
	defer f.matching.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || !f.watches(t) {
		return
	}
	if t.Key != "" {
		delete(f.keys, t.Key)
	} else {
		f.prefixes.Delete(t.Prefix)
		f.patterns--
	}
	f.count(t, -1)
}

// Targets returns the number of targets.
func (f *Feed) Targets() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.keys) + f.patterns
}

// watches reports whether a target is watched. It needs matching and mu.
func (f *Feed) watches(t Target) (yes bool) {
	if t.Key != "" {
		_, yes = f.keys[t.Key]
	} else {
		_, yes = f.prefixes.Get(t.Prefix)
	}
	return yes
}

// count counts a target at the service.
func (f *Feed) count(t Target, d int32) {
	if t.Key == "" {
		f.service.watched.all.Add(d)
		return
	}
	f.service.watched.keys[f.service.partition(t.Key)].Add(d)
}

// Close ends the feed.
func (f *Feed) Close() {
	f.matching.Lock()
	defer f.matching.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	for k := range f.keys {
		f.count(Target{Key: k}, -1)
	}
	f.prefixes.All(func(p string, _ struct{}) { f.count(Target{Prefix: p}, -1) })
	f.service.watched.remove(f)
	f.keys, f.prefixes, f.patterns = nil, prefixes.Set[struct{}]{}, 0
	f.queue.take()
	f.wake.Set()
}

// A Read asks for the present state of a key, or of the keys with a prefix in some partitions.
type Read struct {
	// ID is chosen by the caller. All parts of the result have it.
	ID uint64
	// Epoch is the epoch in which to read. In any other the read fails with ErrBehind.
	Epoch uint32
	Target
	// After, if Resume is set, is the sequence number of the last event of Key that the caller has
	// seen in this epoch. If all later ones are known, they are the result.
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
	// Seq, of a key, is the sequence number up to which all events are in the part.
	Seq uint64
	// Events are snapshots or, if Resumed is set, what was told after Read.After.
	Events  []*Event
	Resumed bool
	// Done is set in the last part of a partition. Last is set in the last part of all.
	Done, Last bool
	// Quarantined is set if the state of the partition was lost, so that holds may exist that are
	// not shown.
	Quarantined bool
	// Err is why the read failed. That part is the last.
	Err error
}

// snapshots returns events that show the state of a key. The last one says how much is not shown
// because it is too much.
func snapshots(l *sharelock.KeyState, at Event) []*Event {
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
