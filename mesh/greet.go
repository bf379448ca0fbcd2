package mesh

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/peer"
	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// greeter keeps the voters reached by this process, and knows whose own calls reach it, if it is one
// of them (V5).
type greeter struct {
	self  ring.Identity
	views *epoch.Views
	peers *peer.Client
	raft  *view.Raft
	// voters returns the ids of the voters.
	voters func() []string
	clock  func() time.Duration
	spawn  func(func()) bool
	log    *slog.Logger

	// callers are the members whose own calls have come.
	callers peer.Contacts
}

// called reports whether a member's own calls have reached this process within 2L/5
// (V5).
func (g *greeter) called(id ring.Identity) bool {
	return g.callers.Since(id.String(), g.clock()-2*g.views.Lease()/5)
}

// claims are the members whose own calls have reached this process within 2L/5, if it is
// a voter (V5).
func (g *greeter) claims(a *epoch.View) []*peerv1.Identity {
	if !g.votes() {
		return nil
	}
	var list []*peerv1.Identity
	for _, m := range a.Members {
		if m.Identity != g.self && g.called(m.Identity) {
			list = append(list, ringproto.EncodeIdentity(m.Identity))
		}
	}
	return list
}

// votes reports whether this process has a seat (V1).
func (g *greeter) votes() bool {
	seats, err := g.raft.Seats()
	return err == nil && slices.Contains(seats, view.Seat{ID: g.self.ID, Voter: true})
}

// run calls every voter at least every L/5, so that voters can say whose calls reach
// them (V5). A voter that has answered another call meanwhile, a renewal or a round of
// V4, is not called for this.
func (g *greeter) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		// Who was called within little more than a period is called two periods after that,
		// which is within L/5.
		period := max(g.views.Lease()*19/200, time.Millisecond)
		timer.Reset(period)
		a := g.views.Now()
		if a == nil {
			continue
		}
		if _, in := a.Find(g.self); !in {
			continue
		}
		now := g.clock()
		for _, id := range g.voters() {
			if id == g.self.ID || g.peers.Reached(id, now-period*21/20) {
				continue
			}
			g.spawn(func() {
				ctx, cancel := context.WithTimeout(ctx, 2*period)
				defer cancel()
				if err := g.peers.Greet(ctx, id); err != nil {
					g.log.Debug("cannot reach a voter", "voter", id, "error", err)
				}
			})
		}
	}
}

// named are the members because of whose silence this process was handed leadership of
// late (V5). The zero value is ready.
type named struct {
	mu sync.Mutex
	at map[ring.Identity]time.Duration // guarded by mu
}

func (t *named) note(id ring.Identity, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil || len(t.at) >= ring.MaxMembers {
		t.at = map[ring.Identity]time.Duration{}
	}
	t.at[id] = now
}

// since lists those that were named at a time or later, and forgets the others.
func (t *named) since(when time.Duration) (list []ring.Identity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, at := range t.at {
		if at < when {
			delete(t.at, id)
			continue
		}
		list = append(list, id)
	}
	return list
}
