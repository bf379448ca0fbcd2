package mesh

import (
	"context"
	"errors"
	"time"

	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/ring"
)

// leading is this process's leadership, nil if it does not lead.
func (n *Node) leading() *view.Leader { return n.leads.Load() }

// watchLeadership runs a leader for every term that this process leads in.
func (n *Node) watchLeadership(ctx context.Context) {
	stop := func() {}
	select {
	case <-ctx.Done():
		return
	case <-n.agree.Begun():
	}
	for {
		select {
		case <-ctx.Done():
			stop()
			return
		case lead := <-n.agree.LeaderCh():
			stop()
			stop = func() {}
			if !lead {
				continue
			}
			turn, cancel := context.WithCancel(ctx)
			ended := make(chan struct{})
			if n.tasks.Go(func() { defer close(ended); n.lead(turn) }) {
				stop = func() { cancel(); <-ended }
			} else {
				cancel()
			}
		}
	}
}

// lead runs one leadership. It tries until it can be taken up.
func (n *Node) lead(ctx context.Context) {
	defer n.leads.Store(nil)
	for {
		l, err := view.Lead(ctx, view.LeaderConfig{
			Program: n.program(),
			Self:    n.self.ID, Agreement: n.agree, Peers: n.peers, Clock: n.clock, Spawn: n.tasks.Go,
			Prepare: n.prepareToLead, Nearby: n.nearbyReleases,
			Called: n.calledOf, Named: n.named.since(n.clock() - 10*n.lease()),
			Log: n.log, Memory: &n.leadMemory,
			Stopping: n.stopping, Dismiss: n.member.Dismiss, SeatGrace: n.cfg.SeatGrace,
		})
		if err == nil {
			n.leads.Store(l)
			l.Run()
			return
		}
		if ctx.Err() != nil {
			return
		}
		n.log.Warn("cannot take up leadership", "error", err)
		if errors.Is(err, epoch.ErrOtherCluster) || errors.Is(err, ring.ErrPlacement) || errors.Is(err, ring.ErrView) {
			if err := n.agree.HandOver(ctx); err != nil {
				n.log.Warn("cannot hand over leadership", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(n.lease() / 20):
		}
	}
}

// prepareToLead makes the cluster's first view if there is none, and installs what
// was agreed on so far: who cannot act in the view must not decide about it either.
func (n *Node) prepareToLead(ctx context.Context) error {
	if n.agree.State().Cluster == nil {
		if err := n.firstView(ctx); err != nil {
			return err
		}
	}
	return n.views.Offer(n.agree.State())
}
