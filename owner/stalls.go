package owner

import (
	"sync"
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// stalls notes since when this member has waited for others without progress, so that it can
// complain of them (V6). The zero value is ready.
type stalls struct {
	mu    sync.Mutex
	since map[*stall]time.Duration // guarded by mu
}

// A stall is one wait for a member.
type stall struct{ member ring.Identity }

// progress begins a wait, or notes that it has made progress.
func (s *stalls) progress(x *stall, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since == nil {
		s.since = map[*stall]time.Duration{}
	}
	s.since[x] = now
}

// end ends a wait.
func (s *stalls) end(x *stall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.since, x)
}

// Stuck returns the members for which this one has waited since before the given time: for the
// answers of an activation, or for acknowledgements (V6).
//
// It is called with each renewal of the lease and does not wait for any shard. It uses what the
// shards published when they were last asked, and asks them again for the next call. What a shard
// published before the given time does not count: the shard has not run since, so the member may
// have answered in the meantime.
func (s *Service) Stuck(before time.Duration) []ring.Identity {
	stuck := map[ring.Identity]bool{}
	s.stalls.mu.Lock()
	for x, since := range s.stalls.since {
		if since < before {
			stuck[x.member] = true
		}
	}
	s.stalls.mu.Unlock()
	for _, sh := range s.shards {
		if r := sh.awaited.Load(); r != nil && r.at >= before && r.epoch == s.cur.Load() {
			for m, since := range r.since {
				if since < before {
					stuck[m] = true
				}
			}
		}
		if sh.asked.CompareAndSwap(false, true) {
			sh.put(item{fn: (*shard).publishAwaited})
		}
	}
	var list []ring.Identity
	for m := range stuck {
		list = append(list, m)
	}
	return list
}

// awaitedAcks says since when a shard has waited for the acknowledgements of members, as of the
// time at.
type awaitedAcks struct {
	at    time.Duration
	epoch uint32
	since map[ring.Identity]time.Duration
}

// publishAwaited publishes for whose acknowledgements this shard waits.
func (sh *shard) publishAwaited() {
	sh.asked.Store(false)
	r := &awaitedAcks{at: sh.service.clock(), epoch: sh.epoch}
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
	sh.awaited.Store(r)
}
