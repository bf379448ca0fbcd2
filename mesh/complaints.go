package mesh

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/epoch"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// complainAfter is how long a member waits for another without progress before
// it says so (V6).
func complainAfter(lease time.Duration) time.Duration { return max(lease/2, time.Second) }

// complaints are the members that this one has waited for too long (V6).
func (n *Node) complaints(a *epoch.View) []*peerv1.Identity {
	long := complainAfter(n.lease())
	now := n.clock()
	stuck := a.Service.Stuck(now - long)
	for _, id := range n.links.Stuck(now - long) {
		if !slices.Contains(stuck, id) {
			stuck = append(stuck, id)
		}
	}
	n.stalls.update(n.log, a.View, stuck, now, long)
	if len(stuck) > 0 && n.cfg.Trouble != nil {
		n.cfg.Trouble("stall")
	}
	var list []*peerv1.Identity
	for _, id := range stuck {
		list = append(list, ringproto.EncodeIdentity(id))
	}
	return list
}

// sayAgain is how often the log is told of a stall that goes on.
const sayAgain = time.Minute

// stalls are the members that this one waits for in vain, for people: they are in the log
// and in the status of the node (V6). The zero value is ready.
type stalls struct {
	mu sync.Mutex
	at map[ring.Identity]stall // guarded by mu
	// begun has how many stalls there were, by the name of the member, for those that are in the view
	// or were when theirs began last. Guarded by mu.
	begun map[string]uint64
}

// stall began at since; the log was told of it last at said.
type stall struct{ since, said time.Duration }

// update is told which members of a view this one has waited for, for at least long.
func (s *stalls) update(log *slog.Logger, v ring.View, stuck []ring.Identity, now, long time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, st := range s.at {
		if !slices.Contains(stuck, id) {
			log.Info("no longer waiting for a member", "member", nameOf(v, id), "after", now-st.since)
			delete(s.at, id)
		}
	}
	for _, id := range stuck {
		st, known := s.at[id]
		if !known {
			st = stall{since: now - long, said: now - sayAgain}
			s.count(v, id)
		}
		if now-st.said >= sayAgain {
			log.Warn("waiting for a member without progress", "member", nameOf(v, id), "for", now-st.since)
			st.said = now
		}
		if s.at == nil {
			s.at = map[ring.Identity]stall{}
		}
		s.at[id] = st
	}
}

// count counts a stall that begins. It needs s.mu.
func (s *stalls) count(v ring.View, id ring.Identity) {
	m, in := v.Find(id)
	if !in {
		return
	}
	if s.begun == nil {
		s.begun = map[string]uint64{}
	}
	// Names may come and go, and must not pile up.
	if len(s.begun) > ring.MaxMembers {
		maps.DeleteFunc(s.begun, func(name string, _ uint64) bool {
			return !slices.ContainsFunc(v.Members, func(m ring.Member) bool { return m.Name == name })
		})
	}
	s.begun[m.Name]++
}

// counts returns how many stalls there were, by the name of the member.
func (s *stalls) counts() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.begun)
}

// list is for the status of the node.
func (s *stalls) list(v ring.View, now time.Duration) (list []sharelock.Stall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range v.Members {
		if st, ok := s.at[m.Identity]; ok {
			list = append(list, sharelock.Stall{Member: m.Name, Waiting: now - st.since})
		}
	}
	return list
}

// nameOf is the name of a member, or what else is known of a process that is none.
func nameOf(v ring.View, id ring.Identity) string {
	if m, in := v.Find(id); in {
		return m.Name
	}
	return id.String()
}
