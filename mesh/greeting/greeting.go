// Package greeting makes sure that this process's calls reach the voters, and records whose own
// calls reach this process (V5).
package greeting

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

// Greeter calls the voters, and records the calls of others. All exported fields except Callers
// must be set.
type Greeter struct {
	Self  ring.Identity
	Views *epoch.Views
	Peers *peer.Client
	Raft  *view.Raft
	// Voters returns the ids of the voters to call.
	Voters func() []string
	Clock  func() time.Duration
	// Spawn runs a function in a goroutine, unless the node is stopping.
	Spawn func(func()) bool
	Log   *slog.Logger

	// Callers are the members whose own calls have reached this process.
	Callers peer.Contacts
}

// Called reports whether a member's own calls have reached this process within 2L/5
// (V5).
func (g *Greeter) Called(id ring.Identity) bool {
	return g.Callers.Since(id.String(), g.Clock()-2*g.Views.Lease()/5)
}

// Claims returns the members whose own calls have reached this process within 2L/5, if it is a
// voter (V5).
func (g *Greeter) Claims(a *epoch.View) []*peerv1.Identity {
	if !g.votes() {
		return nil
	}
	var list []*peerv1.Identity
	for _, m := range a.Members {
		if m.Identity != g.Self && g.Called(m.Identity) {
			list = append(list, ringproto.EncodeIdentity(m.Identity))
		}
	}
	return list
}

// votes reports whether this process has a seat (V1).
func (g *Greeter) votes() bool {
	return slices.Contains(g.Raft.Voters(), g.Self.ID)
}

// Run calls every voter at least every L/5, so that voters can report whose calls reach them (V5).
// A voter that has answered another call in the meantime, such as a renewal or a round of V4, is
// not called.
func (g *Greeter) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		// A voter that was reached within little more than a period is skipped now and called one
		// period later. That is at most about two periods after the last call, which is within L/5.
		period := max(g.Views.Lease()*19/200, time.Millisecond)
		timer.Reset(period)
		a := g.Views.Now()
		if a == nil {
			continue
		}
		if _, in := a.Find(g.Self); !in {
			continue
		}
		now := g.Clock()
		for _, id := range g.Voters() {
			if id == g.Self.ID || g.Peers.Reached(id, now-period*21/20) {
				continue
			}
			g.Spawn(func() {
				ctx, cancel := context.WithTimeout(ctx, 2*period)
				defer cancel()
				if err := g.Peers.Greet(ctx, id); err != nil {
					g.Log.Debug("cannot reach a voter", "voter", id, "error", err)
				}
			})
		}
	}
}

// Named are the members whose silence is why this process was recently handed leadership (V5). The
// zero value is ready.
type Named struct {
	mu sync.Mutex
	at map[ring.Identity]time.Duration // guarded by mu
}

// Note records that a member was named.
func (t *Named) Note(id ring.Identity, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil || len(t.at) >= ring.MaxMembers {
		t.at = map[ring.Identity]time.Duration{}
	}
	t.at[id] = now
}

// Since returns the members that were noted at the given time or later, and forgets the others.
func (t *Named) Since(when time.Duration) (list []ring.Identity) {
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
