package owner

import (
	"sync"
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// waits notes since when somebody waits for members without progress, so that it
// can be complained of (V6). The zero value is ready.
type waits struct {
	mu    sync.Mutex
	since map[*wait]time.Duration // guarded by mu
}

// wait is one thing that is waited for.
type wait struct{ member ring.Identity }

// note begins a wait, or notes progress in one.
func (w *waits) note(what *wait, now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since == nil {
		w.since = map[*wait]time.Duration{}
	}
	w.since[what] = now
}

func (w *waits) end(what *wait) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.since, what)
}

// Stuck says for which members this one has waited since before a time: for the
// answers of an activation, or for acknowledgements (V6).
//
// A renewal of the lease asks, so it does not wait for any shard: it takes what the
// shards said when it asked last, and has them look again for the next time. What a
// shard said before that time does not count: it has not run since, so that the member
// may have answered.
func (s *Service) Stuck(before time.Duration) []ring.Identity {
	stuck := map[ring.Identity]bool{}
	s.waits.mu.Lock()
	for w, since := range s.waits.since {
		if since < before {
			stuck[w.member] = true
		}
	}
	s.waits.mu.Unlock()
	for _, sh := range s.shards {
		if r := sh.awaits.Load(); r != nil && r.at >= before && r.epoch == s.cur.Load() {
			for m, since := range r.since {
				if since < before {
					stuck[m] = true
				}
			}
		}
		if sh.asked.CompareAndSwap(false, true) {
			sh.put(item{fn: sh.lookWhoIsAwaited})
		}
	}
	var list []ring.Identity
	for m := range stuck {
		list = append(list, m)
	}
	return list
}

// awaited says since when a shard waits for the acknowledgements of members, as of a
// moment.
type awaited struct {
	at    time.Duration
	epoch uint32
	since map[ring.Identity]time.Duration
}

// lookWhoIsAwaited publishes for whom this shard waits.
func (sh *shard) lookWhoIsAwaited() {
	sh.asked.Store(false)
	r := &awaited{at: sh.service.clock(), epoch: sh.epoch}
	for _, p := range sh.parts {
		for i := range p.log.backups {
			b := &p.log.backups[i]
			if b.acked >= p.log.last() {
				continue
			}
			if r.since == nil {
				r.since = map[ring.Identity]time.Duration{}
			}
			if since, known := r.since[b.member.Identity]; !known || b.since < since {
				r.since[b.member.Identity] = b.since
			}
		}
	}
	sh.awaits.Store(r)
}
