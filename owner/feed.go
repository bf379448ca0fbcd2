package owner

import (
	"context"
	"fmt"
	"sync"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/wake"
)

// feedMost is the largest number of events that wait for a node in its feed.
const feedMost = 16384

// A Target is what is watched: one key or, if Key is empty, all keys that begin with Prefix.
type Target struct{ Key, Prefix string }

// News is something that a feed tells: an event, a part of what was read or, if both are nil, that
// events were left out.
type News struct {
	Event *Event
	Part  *Part
}

// Lost reports whether events were left out, so that everything must be read again.
func (n News) Lost() bool { return n.Event == nil && n.Part == nil }

// A Feed is what one node is told of the partitions that this member owns. News must be taken; if
// too much waits, all of it is left out. All methods are safe for concurrent use.
type Feed struct {
	service *Service
	wake    wake.Signal

	mu       sync.Mutex
	keys     map[string]struct{} // guarded by mu
	prefixes map[string]struct{} // guarded by mu
	// lengths has how many of the prefixes have each length, so that a key is looked up a bounded
	// number of times, however many prefixes are watched; guarded by mu.
	lengths map[int]int
	queue   []News // guarded by mu
	closed  bool   // guarded by mu
}

// Feed returns a feed that watches nothing yet. The caller calls Close.
func (s *Service) Feed() *Feed {
	f := &Feed{service: s, wake: wake.New(), keys: map[string]struct{}{}, prefixes: map[string]struct{}{}, lengths: map[int]int{}}
	s.watched.add(f)
	return f
}

// Watch adds a target. Everything that is decided afterwards is told. What was decided before is
// found out by Read.
func (f *Feed) Watch(t Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if _, known := f.set(t)[t.name()]; !known {
		f.set(t)[t.name()] = struct{}{}
		f.count(t, 1)
	}
}

// Unwatch removes a target.
func (f *Feed) Unwatch(t Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.set(t)[t.name()]; known {
		delete(f.set(t), t.name())
		f.count(t, -1)
	}
}

// Targets returns the number of targets.
func (f *Feed) Targets() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.keys) + len(f.prefixes)
}

// set returns the set that a target belongs to. It needs mu.
func (f *Feed) set(t Target) map[string]struct{} {
	if t.Key != "" {
		return f.keys
	}
	return f.prefixes
}

func (t Target) name() string {
	if t.Key != "" {
		return t.Key
	}
	return t.Prefix
}

// count counts a target, here and at the service. It needs mu.
func (f *Feed) count(t Target, d int) {
	if t.Key == "" {
		f.service.watched.all.Add(int32(d))
		if f.lengths[len(t.Prefix)] += d; f.lengths[len(t.Prefix)] == 0 {
			delete(f.lengths, len(t.Prefix))
		}
		return
	}
	f.service.watched.keys[f.service.partition(t.Key)].Add(int32(d))
}

// Close ends the feed.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	for k := range f.keys {
		f.count(Target{Key: k}, -1)
	}
	for p := range f.prefixes {
		f.count(Target{Prefix: p}, -1)
	}
	f.service.watched.remove(f)
	f.keys, f.prefixes, f.queue = nil, nil, nil
	f.wake.Set()
}

// offer queues the events that the node watches.
func (f *Feed) offer(events []*Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		if f.wants(e.Key) {
			f.push(News{Event: e})
		}
	}
}

// wants reports whether a key is watched. It needs mu.
func (f *Feed) wants(key string) bool {
	if _, yes := f.keys[key]; yes {
		return true
	}
	for n := range f.lengths {
		if n <= len(key) {
			if _, yes := f.prefixes[key[:n]]; yes {
				return true
			}
		}
	}
	return false
}

// push queues news. It needs mu.
func (f *Feed) push(n News) {
	if f.closed {
		return
	}
	if len(f.queue) >= feedMost {
		f.drop()
	}
	if len(f.queue) == 0 {
		f.wake.Set()
	}
	f.queue = append(f.queue, n)
}

// drop leaves out what is queued. It needs mu.
func (f *Feed) drop() {
	clear(f.queue)
	f.queue = append(f.queue[:0], News{})
}

// lose tells the node that events were left out.
func (f *Feed) lose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.drop()
		f.wake.Set()
	}
}

// Take waits for news and returns what is queued. It fails with ErrFeedClosed after Close, and with
// the error of the context if that ends first.
func (f *Feed) Take(ctx context.Context) ([]News, error) {
	for {
		f.mu.Lock()
		news, closed := f.queue, f.closed
		f.queue = nil
		f.mu.Unlock()
		switch {
		case len(news) > 0:
			return news, nil
		case closed:
			return nil, ErrFeedClosed
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
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
