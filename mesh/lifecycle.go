package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api"
	"github.com/sgkandale/sharelock/mesh/member"
	"github.com/sgkandale/sharelock/mesh/peer"
	"github.com/sgkandale/sharelock/mesh/route"
)

// Addrs are the addresses under which this node is reached.
func (n *Node) Addrs() Addrs { return n.addrs }

// Done is closed when the node ended by itself: it left the mesh, or could not
// go on (see Err). It still wants a Stop or Kill.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err is why the node ended by itself; nil while it runs, and if it left.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

func (n *Node) end(err error) {
	n.ended.Do(func() {
		n.mu.Lock()
		n.err = err
		n.mu.Unlock()
		close(n.done)
	})
}

// Ready implements api.Mesh.
func (n *Node) Ready() error { return n.member.Ready() }

// Worked counts what this node has done for callers, as an owner and as a backup; 0 while
// it is in no view. What keeps the mesh together, and locks alive, is not in it.
func (n *Node) Worked() uint64 {
	if a := n.views.Now(); a != nil {
		return a.Service.Worked()
	}
	return 0
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
		case <-n.leaseTo:
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
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.ShutdownTimeout)
		defer cancel()
		n.member.Leave(ctx)
		n.sendAway()
		n.settle(ctx)
		last, done := context.WithTimeout(context.WithoutCancel(ctx), member.LeaveTime)
		defer done()
		n.member.GiveUp(last)
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
			// While the keys move, calls are still taken and led to their new
			// owners; only then are the ports closed.
			n.member.Leave(ctx)
			errs = append(errs, n.closePorts(ctx)...)
			n.settle(ctx)
			last, done := context.WithTimeout(ctx, member.LeaveTime)
			n.member.GiveUp(last)
			done()
		})
	}
	errs = append(errs, n.close())
	n.end(nil)
	return errors.Join(errs...)
}

// settle waits for what callers have left that are gone, as long as it would for the callers.
func (n *Node) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, route.GiveUpTime)
	defer cancel()
	n.router.Settle(ctx)
}

// closePorts takes no more calls and waits for the open ones. Those that wait for
// a lock are sent away to other nodes, after a moment in which short calls end.
func (n *Node) closePorts(ctx context.Context) []error {
	errs := make([]error, 2)
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = n.http.Shutdown(ctx) })
	wg.Go(func() { errs[1] = n.grpc.Shutdown(ctx) })
	away := time.AfterFunc(n.lease()/8, n.sendAway)
	wg.Wait()
	away.Stop()
	return errs
}

// Kill ends everything at once, as a crash would: nothing is handed over, and
// the others notice when the lease has run out.
func (n *Node) Kill() {
	if err := n.close(); err != nil {
		n.log.Debug("killed", "error", err)
	}
	n.end(nil)
}

// close runs the cleanups, the last registered first.
func (n *Node) close() error {
	n.cancel()
	n.sendAway()
	var errs []error
	for {
		n.mu.Lock()
		if len(n.cleanups) == 0 {
			n.mu.Unlock()
			return errors.Join(errs...)
		}
		c := n.cleanups[len(n.cleanups)-1]
		n.cleanups = n.cleanups[:len(n.cleanups)-1]
		n.mu.Unlock()
		if err := c.fn(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", c.name, err))
		}
	}
}

// Status implements api.Mesh.
func (n *Node) Status() sharelock.MeshState {
	st := sharelock.MeshState{Cluster: n.cfg.Cluster, Node: n.cfg.Name}
	a := n.views.Now()
	if a == nil {
		return st
	}
	stats := a.Service.Stats()
	st.Epoch, st.Partitions, st.Replicas = a.Epoch, a.Constants().Partitions(), a.Replicas
	st.Release = a.Release
	st.Quarantined, st.Active = stats.Quarantined, stats.Active
	st.LeaseRemaining = a.Service.LeaseLeft()
	st.LeaseValid = st.LeaseRemaining > 0
	st.Stalls = n.stalls.list(a.View, n.clock())
	if err := n.agree.DiskError(); err != nil {
		st.DiskError = err.Error()
	}
	leader, voters := n.leaderID(), n.voters()
	st.Seats, st.Survives = seatsOf(a.State, voters)
	for _, m := range a.Members {
		if m.ID == leader {
			st.Leader = m.Name
		}
		st.Members = append(st.Members, sharelock.Member{
			Name: m.Name, ID: m.ID, Incarnation: m.Incarnation(), Voter: slices.Contains(voters, m.ID), Leaving: m.Leaving,
			Owns: len(a.Ring.Owned(m.Identity)), Backs: len(a.Ring.Backed(m.Identity)),
			HTTP: m.HTTP, GRPC: m.GRPC, Peer: m.Peer, Release: m.Release,
		})
	}
	return st
}

// leaderID is the id of the leader, or "".
func (n *Node) leaderID() string {
	if id := n.agree.Leader(); id != "" {
		return id
	}
	return n.member.Leader()
}

// voters are the ids of the voters: as Raft has them here if this process leads,
// else as the leader named them last. The configuration in a process that has no
// seat (any more) is as old as its last one.
func (n *Node) voters() []string {
	if n.leading() == nil {
		return n.member.Voters()
	}
	var ids []string
	if seats, err := n.agree.Seats(); err == nil {
		for _, s := range seats {
			if s.Voter {
				ids = append(ids, s.ID)
			}
		}
	}
	return ids
}

// Locate implements api.Mesh.
func (n *Node) Locate(key string) (sharelock.Location, error) {
	a := n.views.Now()
	if a == nil {
		return sharelock.Location{}, n.Ready()
	}
	p := a.Partition(key)
	loc := sharelock.Location{Key: key, Partition: p, Epoch: a.Epoch}
	for i, m := range a.Ring.Replicas(p) {
		if i == 0 {
			loc.Owner = m.Name
		} else {
			loc.Backups = append(loc.Backups, m.Name)
		}
	}
	return loc, nil
}

// Placement implements api.Mesh.
func (n *Node) Placement() (api.Placement, error) {
	a := n.views.Now()
	if a == nil {
		return api.Placement{}, n.Ready()
	}
	p := api.Placement{Epoch: a.Epoch, Owners: make([]uint32, a.Constants().Partitions())}
	for _, m := range a.Members {
		owned := a.Ring.Owned(m.Identity)
		if len(owned) == 0 {
			continue
		}
		for _, part := range owned {
			p.Owners[part] = uint32(len(p.Members))
		}
		p.Members = append(p.Members, sharelock.Member{Name: m.Name, GRPC: m.GRPC})
	}
	if len(p.Members) == 0 {
		return api.Placement{}, &sharelock.Error{Err: sharelock.ErrNotReady, Message: "no member is on the ring"}
	}
	return p, nil
}
