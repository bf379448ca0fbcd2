package mesh

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/ring"
)

// leadership runs a leader for every term that this process leads in.
type leadership struct {
	agree *view.Raft
	// config returns what a leader needs that takes office now, with the memory of the last one.
	config func(memory *view.Memory) view.LeaderConfig
	lease  func() time.Duration
	spawn  func(func()) bool
	log    *slog.Logger

	leads atomic.Pointer[view.Leader]
	// memory passes from one leadership of this process to the next.
	memory view.Memory
}

// now is this process's leadership, nil if it does not lead.
func (l *leadership) now() *view.Leader { return l.leads.Load() }

// watch runs a leader for every term that this process leads in.
func (l *leadership) watch(ctx context.Context) {
	stop := func() {}
	select {
	case <-ctx.Done():
		return
	case <-l.agree.Begun():
	}
	for {
		select {
		case <-ctx.Done():
			stop()
			return
		case lead := <-l.agree.LeaderCh():
			stop()
			stop = func() {}
			if !lead {
				continue
			}
			turn, cancel := context.WithCancel(ctx)
			ended := make(chan struct{})
			if l.spawn(func() { defer close(ended); l.lead(turn) }) {
				stop = func() { cancel(); <-ended }
			} else {
				cancel()
			}
		}
	}
}

// lead runs one leadership. It tries until it can be taken up.
func (l *leadership) lead(ctx context.Context) {
	defer l.leads.Store(nil)
	for {
		leader, err := view.Lead(ctx, l.config(&l.memory))
		if err == nil {
			l.leads.Store(leader)
			leader.Run()
			return
		}
		if ctx.Err() != nil {
			return
		}
		l.log.Warn("cannot take up leadership", "error", err)
		if errors.Is(err, epoch.ErrOtherCluster) || errors.Is(err, ring.ErrPlacement) || errors.Is(err, ring.ErrView) {
			if err := l.agree.HandOver(ctx); err != nil {
				l.log.Warn("cannot hand over leadership", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(l.lease() / 20):
		}
	}
}

// leaderConfig is what this process leads with.
func (n *Node) leaderConfig(memory *view.Memory) view.LeaderConfig {
	return view.LeaderConfig{
		Program: n.program(), Self: n.self.ID, Agreement: n.agree, Peers: n.peers, Clock: n.clock, Spawn: n.tasks.Go,
		Prepare: n.prepareToLead, Nearby: n.nearbyReleases,
		Called: n.greeter.Called, Named: n.named.Since(n.clock() - 10*n.lease()),
		Log: n.log, Memory: memory,
		Stopping: n.stopping, Dismiss: n.member.Dismiss, SeatGrace: n.cfg.SeatGrace,
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
