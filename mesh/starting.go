package mesh

import (
	"context"
	"time"
)

// startPatience is how long a call that has no wait of its own is held while this node
// starts. Joining takes less, and a client that knows other nodes loses no more.
func (n *Node) startPatience() time.Duration { return 2 * n.cfg.Lease }

// watchStart notices that this node may serve for the first time since it started, whether
// anybody calls it or not.
func (n *Node) watchStart(ctx context.Context) {
	look := time.NewTicker(max(n.cfg.Lease/100, time.Millisecond))
	defer look.Stop()
	for n.Ready() != nil {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
	close(n.served)
}

// awaitStart holds a call while this node has not served yet since it started: until it may,
// or for as long as most, or until ctx ends. Its ports are open before it is a member; whoever
// calls it then need not know (Q1). A node that served and is cut off says so at once (Q4).
// What is the matter when this returns, the call finds out itself.
func (n *Node) awaitStart(ctx context.Context, most time.Duration) {
	select {
	case <-n.served:
		return
	default:
	}
	if n.Ready() == nil {
		return
	}
	end := time.NewTimer(most)
	defer end.Stop()
	select {
	case <-n.served:
	case <-end.C:
	case <-ctx.Done():
	case <-n.draining:
	}
}
