package mesh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sgkandale/sharelock/mesh/member"
	"github.com/sgkandale/sharelock/mesh/peer"
	"github.com/sgkandale/sharelock/mesh/route"
)

// Ready implements api.Mesh.
func (n *Node) Ready() error {
	if err := n.member.Ready(); err != nil {
		return n.explain(err)
	}
	return nil
}

// WaitReady returns nil when this node holds a lease and every partition that it
// owns is active; the error says what it waited for when ctx ended.
func (n *Node) WaitReady(ctx context.Context) error {
	tick := time.NewTicker(max(n.lease()/100, time.Millisecond))
	defer tick.Stop()
	for {
		err := n.Ready()
		if err == nil {
			st := n.views.Now().Service.Stats()
			if st.Active == st.Owned && st.Epoch == n.epoch() {
				return nil
			}
			err = fmt.Errorf("%d of %d partitions are active", st.Active, st.Owned)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-n.done:
			return errors.Join(n.Err(), peer.ErrClosed)
		case <-n.leased:
		case <-tick.C:
		}
	}
}

// Leave implements api.Mesh: the node hands over what it owns and gives up its
// membership (V7). When it has returned, and all open calls with it, the node ends
// (see Done).
func (n *Node) Leave(ctx context.Context, forGood bool) error {
	n.leave.Do(func() {
		n.member.LeaveForGood(forGood)
		left := n.parting()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.ShutdownTimeout)
		defer cancel()
		n.member.Leave(ctx)
		n.sendAway()
		n.settle(ctx)
		last, done := context.WithTimeout(context.WithoutCancel(ctx), member.LeaveTime)
		defer done()
		n.member.GiveUp(last)
		left()
		// The node has ended when this call, and whatever else is open, is answered.
		if !n.tasks.Go(func() {
			bound, done := context.WithTimeout(n.ctx, n.cfg.ShutdownTimeout)
			defer done()
			if err := errors.Join(n.closePorts(bound)...); err != nil {
				n.log.Warn("calls were cut off", "error", err)
			}
			n.end(nil)
		}) {
			n.end(nil)
		}
	})
	return ctx.Err()
}

// sendAway answers calls that wait that this node leaves, so that their clients
// go to another.
func (n *Node) sendAway() { n.drain.Do(func() { close(n.draining) }) }

// Stop leaves in good order (V7), finishes open calls, and ends everything. It is
// bounded by ctx and by Config.ShutdownTimeout, and may be called again.
func (n *Node) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.ShutdownTimeout)
	defer cancel()
	var errs []error
	if n.grpc != nil {
		n.grpc.SetServing(false)
		n.leave.Do(func() {
			left := n.parting()
			// While the keys move, calls are still taken and led to their new
			// owners; only then are the ports closed.
			n.member.Leave(ctx)
			errs = append(errs, n.closePorts(ctx)...)
			n.settle(ctx)
			last, done := context.WithTimeout(ctx, member.LeaveTime)
			n.member.GiveUp(last)
			done()
			left()
		})
	}
	errs = append(errs, n.close())
	n.end(nil)
	return errors.Join(errs...)
}

// parting notes what this node has to hand over. The function that it returns logs what became of it.
func (n *Node) parting() (left func()) {
	began, owned := n.clock(), 0
	if a := n.views.Now(); a != nil {
		owned = a.Service.Stats().Owned
	}
	return func() {
		kept := 0
		if a := n.views.Now(); a != nil && a.Has(n.self) {
			kept = a.Service.Stats().Owned
		}
		n.log.Info("left the mesh", "handed_over", owned-min(kept, owned), "kept", kept, "took", n.clock()-began)
	}
}

// settle waits for what callers have left that are gone, as long as it would for the callers.
func (n *Node) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, route.GiveUpTime)
	defer cancel()
	n.router.Settle(ctx)
}

// Kill ends everything at once, as a crash would: nothing is handed over, and
// the others notice when the lease has run out.
func (n *Node) Kill() {
	if err := n.close(); err != nil {
		n.log.Debug("killed", "error", err)
	}
	n.end(nil)
}

// close ends everything, the last begun first.
func (n *Node) close() error {
	n.cancel()
	n.sendAway()
	return n.cleanUp()
}
