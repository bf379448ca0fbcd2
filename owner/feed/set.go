package feed

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sgkandale/sharelock/internal/pace"
	"github.com/sgkandale/sharelock/internal/wake"
)

// A Set holds the feeds of a member, and what they watch. While there is no feed, it costs one
// atomic load for each step of a machine. All methods are safe for concurrent use.
type Set struct {
	mu sync.Mutex
	// feeds is replaced at every change; mu serialises the changes.
	feeds atomic.Pointer[[]*Feed]
	// all counts the prefixes that are watched, keys the watched keys of each partition.
	all  atomic.Int32
	keys []atomic.Int32
}

// NewSet returns the set of a member, without feeds.
func NewSet(partitions int) Set { return Set{keys: make([]atomic.Int32, partitions)} }

// Wants reports whether anything of a partition is watched.
func (w *Set) Wants(p uint32) bool {
	return w.feeds.Load() != nil && (w.all.Load() > 0 || w.keys[p].Load() > 0)
}

// Open returns a feed that watches nothing yet. The caller has to call Close.
func (w *Set) Open(r Reader) *Feed {
	f := &Feed{set: w, reader: r, wake: wake.New(), keys: map[string]struct{}{}, pace: pace.Pace{Credit: takeCredit}}
	w.add(f)
	return f
}

// Len returns the number of feeds that are open.
func (w *Set) Len() int { return len(w.list()) }

// WatchesKey reports whether a key of a partition is watched.
func (w *Set) WatchesKey(p uint32) bool { return w.keys[p].Load() > 0 }

// Tell passes events to all feeds. It is called in a shard's turn, and does not wait.
func (w *Set) Tell(events []*Event) {
	for _, f := range w.list() {
		f.offer(events)
	}
}

// Lose tells all feeds that events were dropped.
func (w *Set) Lose() {
	for _, f := range w.list() {
		f.lose()
	}
}

func (w *Set) add(f *Feed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := append(slices.Clone(w.list()), f)
	w.feeds.Store(&list)
}

func (w *Set) remove(f *Feed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if list := slices.DeleteFunc(slices.Clone(w.list()), func(x *Feed) bool { return x == f }); len(list) > 0 {
		w.feeds.Store(&list)
		return
	}
	w.feeds.Store(nil)
}

// list returns the feeds. The slice must not be changed.
func (w *Set) list() []*Feed {
	if list := w.feeds.Load(); list != nil {
		return *list
	}
	return nil
}
