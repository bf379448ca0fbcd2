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
func (s *Service) Stuck(before time.Duration) []ring.Identity {
	var mu sync.Mutex
	stuck := map[ring.Identity]bool{}
	s.waits.mu.Lock()
	for w, since := range s.waits.since {
		if since < before {
			stuck[w.member] = true
		}
	}
	s.waits.mu.Unlock()
	s.everyShard(func(sh *shard) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range sh.parts {
			for i := range p.log.backups {
				if r := &p.log.backups[i]; r.acked < p.log.last() && r.since < before {
					stuck[r.member.Identity] = true
				}
			}
		}
	})
	var list []ring.Identity
	for m := range stuck {
		list = append(list, m)
	}
	return list
}
