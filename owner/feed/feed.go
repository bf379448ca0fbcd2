package feed

import (
	"context"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/pace"
	"github.com/sgkandale/sharelock/internal/prefixes"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/ring"
)

// A Target is what is watched: one key or, if Key is empty, all keys that begin with Prefix.
type Target struct{ Key, Prefix string }

// News is an item of a feed: an event, a part of the result of a read or, if both are nil, the
// notice that events were dropped.
type News struct {
	Event *Event
	Part  *Part
	// unsure is set if the event belongs to the feed only if a prefix matches.
	unsure bool
}

// Lost reports whether events were dropped, so that everything must be read again.
func (n News) Lost() bool { return n.Event == nil && n.Part == nil }

// A Feed is the queue of news for one node about the partitions that this member owns. The node
// must take the news; if too much waits, all of it is dropped. All methods are safe for concurrent
// use.
type Feed struct {
	set    *Set
	reader Reader
	wake   wake.Signal

	mu    sync.Mutex
	queue newsQueue           // guarded by mu
	keys  map[string]struct{} // guarded by mu
	// patterns is the number of prefixes; guarded by mu.
	patterns int
	closed   bool // guarded by mu

	// matching guards the prefixes. It is locked before mu, and never in a shard's turn.
	matching sync.Mutex
	prefixes prefixes.Set[struct{}]

	// pace determines how long Take rests, and quiet is when the rest ends; only Take uses them.
	pace  pace.Pace
	quiet time.Time
}

// Watch adds a target. The feed gets the events of everything that is decided afterwards. Read
// returns the state that was decided before.
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

// count counts a target in the set.
func (f *Feed) count(t Target, d int32) {
	if t.Key == "" {
		f.set.all.Add(d)
		return
	}
	f.set.keys[ring.PartitionOf(t.Key, uint32(len(f.set.keys)))].Add(d)
}

// Pending reports whether there are news in the queue.
func (f *Feed) Pending() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue.news) > 0
}

// Read reads the state of a target that is watched. The parts of the result are queued among the
// events: an event of a key after its snapshot is newer than the snapshot. The read of a key does
// not wait; that of a prefix returns when it has ended.
func (f *Feed) Read(ctx context.Context, r Read) { f.reader.Read(ctx, f, r) }

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
	f.set.remove(f)
	f.keys, f.prefixes, f.patterns = nil, prefixes.Set[struct{}]{}, 0
	f.queue.take()
	f.wake.Set()
}
