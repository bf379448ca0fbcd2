package mesh

import (
	"slices"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api"
	"github.com/sgkandale/sharelock/internal/intconv"
)

// Worked counts what this node has done for callers, as an owner and as a backup; 0 while
// it is in no view. What keeps the mesh together, and locks alive, is not in it.
func (n *Node) Worked() uint64 {
	if a := n.views.Now(); a != nil {
		return a.Service.Worked()
	}
	return 0
}

// Status implements api.Mesh.
func (n *Node) Status() sharelock.MeshState {
	st := sharelock.MeshState{
		Cluster: n.cfg.Cluster, Node: n.cfg.Name, Conditions: n.conditions.List(n.clock()),
		AuditDropped: n.cfg.Audit.Dropped(),
	}
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
	hashes := n.authFiles.Hashes()
	st.AuthHash = n.authFiles.Own()
	st.Stalls = n.stalls.list(a.View, n.clock())
	if err := n.agree.DiskError(); err != nil {
		st.DiskError = err.Error()
	}
	leader, voters := n.leaderID(), n.voters()
	st.Seats, st.Survives = n.seatsOf(a, voters)
	st.CopiesMissing, st.SeatWaits = moving(stats), seatWaits(a.View, st.Seats)
	silent := n.silent(a, voters)
	for _, m := range a.Members {
		if m.ID == leader {
			st.Leader = m.Name
		}
		st.Members = append(st.Members, sharelock.Member{
			Name: m.Name, ID: m.ID, Incarnation: m.Incarnation(), Voter: slices.Contains(voters, m.ID), Leaving: m.Leaving,
			Owns: len(a.Ring.Owned(m.Identity)), Backs: len(a.Ring.Backed(m.Identity)),
			HTTP: m.HTTP, GRPC: m.GRPC, Peer: m.Peer, Release: m.Release,
			Silent: silent[m.Identity], AuthHash: hashes[m.Identity],
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

// abstains reports whether this process's vote must not be counted on, see view.Vote.
func (n *Node) abstains() bool { return n.member.Stopping() || n.agree.DiskError() != nil }

// voters are the ids of the voters: as Raft has them here if this process leads,
// else as the leader named them last. The configuration in a process that has no
// seat (any more) is as old as its last one.
func (n *Node) voters() []string {
	if n.leadership.now() == nil {
		return n.member.Voters()
	}
	return n.agree.Voters()
}

// votersToCall are the voters that this process calls (V5). A voter may not reach the leader, and so
// may learn of a new voter only from Raft.
func (n *Node) votersToCall() []string {
	ids := n.voters()
	if own := n.agree.Voters(); slices.Contains(own, n.self.ID) {
		ids = slices.Concat(ids, own)
		slices.Sort(ids)
		ids = slices.Compact(ids)
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
			p.Owners[part] = intconv.Uint32(len(p.Members))
		}
		p.Members = append(p.Members, sharelock.Member{Name: m.Name, GRPC: m.GRPC})
	}
	if len(p.Members) == 0 {
		return api.Placement{}, &sharelock.Error{Err: sharelock.ErrNotReady, Message: "no member is on the ring"}
	}
	return p, nil
}
