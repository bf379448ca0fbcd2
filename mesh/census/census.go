// Package census counts what a principal has at all members of a view (protocol Q8).
//
// The owner of a key admits claims of a principal with a limit as long as it has room for them. If
// it has no room left, it wants a count: a [Census] asks all other members, each of which gives up
// its own room, and tells the owner the sum. Each count has a goroutine; there are at most
// mostCounts.
package census

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// mostCounts is the maximum number of counts at the same time. Requests of further principals are
// sent again until it is their turn.
const mostCounts = 64

// Config is what a [Census] needs to know. All fields are required.
type Config struct {
	Self  ring.Identity
	Views *epoch.Views
	// Ask returns what a principal has at another member, in an epoch. It returns false if that
	// member cannot tell now.
	Ask func(ctx context.Context, m ring.Member, epoch uint32, principal string) (owner.Claims, bool, error)
	// Spawn runs a goroutine, or returns false when this process stops.
	Spawn func(func()) bool
	// Context ends when this process stops.
	Context context.Context //nolint:containedctx // the lifetime of the process
}

// Census makes counts. It is safe for concurrent use.
type Census struct {
	cfg Config
	// counts is the number of counts in progress.
	counts atomic.Int64
}

// New returns a Census.
func New(cfg Config) *Census { return &Census{cfg: cfg} }

// Want begins a count of what a principal has; this member's service gets the result. It does not
// block.
func (c *Census) Want(principal string) {
	v := c.cfg.Views.Now()
	if v == nil {
		return
	}
	if c.counts.Add(1) > mostCounts || !c.cfg.Spawn(func() {
		defer c.counts.Add(-1)
		others, ok := c.count(v, principal)
		v.Service.EndCount(v.Epoch, principal, others, ok)
	}) {
		c.counts.Add(-1)
		v.Service.EndCount(v.Epoch, principal, owner.Claims{}, false)
	}
}

// count asks all other members and returns the sum; ok is false if a member could not tell.
func (c *Census) count(v *epoch.View, principal string) (sum owner.Claims, ok bool) {
	if !v.Service.BeginCount(v.Epoch, principal) {
		return sum, false
	}
	ctx, cancel := context.WithTimeout(c.cfg.Context, v.Constants().Lease()/4)
	defer cancel()
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	ok = true
	for _, m := range v.Members {
		if m.Identity == c.cfg.Self {
			continue
		}
		wg.Go(func() {
			has, knows, err := c.cfg.Ask(ctx, m, v.Epoch, principal)
			mu.Lock()
			defer mu.Unlock()
			sum.Holds += has.Holds
			sum.Waiters += has.Waiters
			if !knows || err != nil {
				ok = false
				cancel()
			}
		})
	}
	wg.Wait()
	return sum, ok
}
