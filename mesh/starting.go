package mesh

import (
	"context"
	"time"
)

// startPatience is how long a call that has no wait of its own is held while this node
// starts. Joining takes less, and a client that knows other nodes loses no more.
func (n *Node) startPatience() time.Duration { return 2 * n.cfg.Lease }

// awaitStart holds a call while this node has not served yet since it started: until it may,
// or for as long as most, or until ctx ends. Its ports are open before it is a member; whoever
// calls it then need not know (Q1). A node that served and is cut off says so at once (Q4).
// What is the matter when this returns, the call finds out itself.
func (n *Node) awaitStart(ctx context.Context, most time.Duration) {
	if n.hasServed.Load() {
		return
	}
	if n.Ready() == nil {
		n.hasServed.Store(true)
		return
	}
	end := time.NewTimer(most)
	defer end.Stop()
	look := time.NewTicker(max(n.cfg.Lease/100, time.Millisecond))
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if n.hasServed.Load() || n.Ready() == nil {
				n.hasServed.Store(true)
				return
			}
		case <-end.C:
			return
		case <-ctx.Done():
			return
		case <-n.draining:
			return
		}
	}
}
