package route

import (
	"context"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/owner"
)

// sessions are all sessions of a node. The zero value is ready.
type sessions struct {
	mu  sync.Mutex
	all map[*session]struct{} // guarded by mu
}

func (ss *sessions) add(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.all == nil {
		ss.all = map[*session]struct{}{}
	}
	ss.all[s] = struct{}{}
}

func (ss *sessions) remove(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	delete(ss.all, s)
}

// list returns all sessions, in no order.
func (ss *sessions) list() []*session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	all := make([]*session, 0, len(ss.all))
	for s := range ss.all {
		all = append(all, s)
	}
	return all
}

// of returns the sessions at whose other end a client with this id, of this principal, may be.
func (ss *sessions) of(client, principal string) (list []*session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for s := range ss.all {
		if s.speaksFor(client, principal) {
			list = append(list, s)
		}
	}
	return list
}

// sweepEvery is how often calls are looked for that their owner has not answered.
const sweepEvery = 500 * time.Millisecond

// sweep looks after the calls that no goroutine drives, until ctx ends: their owner
// may be gone without a word, this node's lease over.
func (ss *sessions) sweep(ctx context.Context, clock func() time.Duration) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, s := range ss.list() {
			s.sweep(clock(), sweepEvery)
		}
	}
}

// requestBase is about what a request takes that waits in line, beside its texts: the goroutine that
// drives it above all.
const requestBase = 4 << 10

// requestBytes is about what a request takes.
func requestBytes(r *owner.Request) int64 {
	n := requestBase + len(r.Key) + len(r.ClientID) + len(r.RequestID) + len(r.Principal)
	for k, v := range r.Metadata {
		n += len(k) + len(v)
	}
	return int64(n)
}
