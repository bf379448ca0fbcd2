package watch

import (
	"context"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/event"
	"github.com/sgkandale/sharelock/internal/prefixes"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// lingerTime is how long a key is still watched after its last watch has ended, so that a watch
// that comes back can be resumed. lingerMost is the maximum number of such keys.
const (
	lingerTime = 30 * time.Second
	lingerMost = 4096
)

// A source distributes the events of one member to the watches at this node.
type source struct {
	hub    *Hub
	member ring.Identity
	from   Source
	// ctx ends when the source has ended.
	ctx  context.Context //nolint:containedctx // the lifetime of the source
	stop context.CancelFunc

	mu   sync.Mutex
	dead bool // guarded by mu
	// keys and prefixes are the watchers of each target; guarded by mu. A key without watchers
	// lingers. A watch that must begin again may be missing.
	keys     map[string]watchers
	prefixes prefixes.Set[watchers]
	// found is scratch space of tell; guarded by mu.
	found []watchers
	// lingering says since when keys have been without watchers; guarded by mu.
	lingering map[string]time.Time
	// reads are the watchers that wait for the results of reads, by id; guarded by mu.
	reads map[uint64]*watcher
	last  uint64 // the id of the last read; guarded by mu
}

type watchers map[*watcher]struct{}

func newSource(h *Hub, m ring.Identity, from Source) *source {
	ctx, stop := context.WithCancel(h.cfg.Context)
	return &source{
		hub: h, member: m, from: from, ctx: ctx, stop: stop,
		keys: map[string]watchers{}, lingering: map[string]time.Time{}, reads: map[uint64]*watcher{},
	}
}

// run distributes news until the source ends.
func (s *source) run() {
	for {
		news, err := s.from.Take(s.ctx)
		if err != nil {
			break
		}
		for _, n := range news {
			s.pass(n)
		}
	}
	s.end()
	s.from.Close()
}

// end ends the source. Its watches begin again.
func (s *source) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return
	}
	s.dead = true
	s.stop()
	s.hub.remove(s)
	s.each(func(w *watcher) { w.broke() })
}

// each calls fn for every watcher. It needs mu.
func (s *source) each(fn func(*watcher)) {
	every := func(_ string, all watchers) {
		for w := range all {
			fn(w)
		}
	}
	for key, all := range s.keys {
		every(key, all)
	}
	s.prefixes.All(every)
}

// pass passes news on to the watchers that it concerns.
func (s *source) pass(n owner.News) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case n.Lost():
		s.each(func(w *watcher) { w.broke() })
	case n.Part != nil:
		if w := s.reads[n.Part.ID]; w != nil {
			if n.Part.Last {
				delete(s.reads, n.Part.ID)
			}
			w.part(s, n.Part)
		}
	default:
		s.tell(n.Event)
	}
}

// tell passes an event on to the watchers of its key. It needs mu.
func (s *source) tell(e *owner.Event) {
	s.found = append(s.found[:0], s.keys[e.Key])
	n := len(s.found[0])
	s.prefixes.Of(e.Key, func(all watchers) bool {
		s.found = append(s.found, all)
		n += len(all)
		return true
	})
	if n == 0 {
		return
	}
	to := told{Event: e, out: event.New(&e.Event)}
	if n > 1 {
		to.out = event.Shared(&e.Event)
	}
	for _, all := range s.found {
		for w := range all {
			if !w.event(to) {
				delete(all, w) // so that it costs nothing until it begins again
			}
		}
	}
}

// attach makes the source pass events on to a watcher. It returns false if the source has ended.
func (s *source) attach(w *watcher) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return false
	}
	all := s.watchers(w.target)
	if all == nil {
		if _, lingers := s.lingering[w.target.Key]; !lingers || w.target.Key == "" {
			s.from.Watch(w.target)
		}
		all = watchers{}
		if w.target.Key != "" {
			s.keys[w.target.Key] = all
		} else {
			s.prefixes.Put(w.target.Prefix, all)
		}
	}
	if w.target.Key != "" {
		delete(s.lingering, w.target.Key)
	}
	all[w] = struct{}{}
	return true
}

// detach undoes attach. read is the id of the watcher's last read.
func (s *source) detach(w *watcher, read uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.reads, read)
	all := s.watchers(w.target)
	if delete(all, w); len(all) > 0 || all == nil || s.dead {
		return
	}
	if w.target.Key == "" {
		s.prefixes.Delete(w.target.Prefix)
	} else if delete(s.keys, w.target.Key); len(s.lingering) < lingerMost {
		s.lingering[w.target.Key] = time.Now()
		return
	}
	s.from.Unwatch(w.target)
}

// watchers returns the watchers of a target, or nil. It needs mu.
func (s *source) watchers(t owner.Target) watchers {
	if t.Key != "" {
		return s.keys[t.Key]
	}
	all, _ := s.prefixes.Get(t.Prefix)
	return all
}

// read asks the member for the state of what a watcher watches, and returns the id of the read.
// A watcher has at most one read at a time.
func (s *source) read(w *watcher, r owner.Read) (id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	r.ID = s.last
	s.reads[r.ID] = w
	s.from.Read(r)
	return r.ID
}

// sweep removes keys that have lingered for too long. It reports whether nothing is left to watch.
func (s *source) sweep(now time.Time) (idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, since := range s.lingering {
		if now.Sub(since) >= lingerTime {
			delete(s.lingering, key)
			s.from.Unwatch(owner.Target{Key: key})
		}
	}
	return len(s.keys)+s.prefixes.Len()+len(s.lingering) == 0
}
