package mesh

import (
	"context"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/condition"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// watchConditions looks at how this node and its mesh are, and has the tracker log what changes.
func (n *Node) watchConditions(ctx context.Context) {
	tick := time.NewTicker(min(max(n.cfg.Lease/4, 10*time.Millisecond), time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.draining:
			return // what ends now ends by the operator's wish
		case <-tick.C:
			n.conditions.Update(n.clock(), condition.Of(n.facts()))
		}
	}
}

// facts gathers what this node knows of itself and of the mesh.
func (n *Node) facts() condition.Facts {
	f := condition.Facts{Lease: n.lease()}
	if err := n.agree.DiskError(); err != nil {
		f.DiskError = n.data.Path() + ": " + err.Error()
	}
	a := n.views.Now()
	if a != nil {
		f.InView, f.Leased = a.Has(n.self), a.Service.LeaseValid()
		stats := a.Service.Stats()
		f.Owned, f.Quarantined, f.QuarantineLeft = stats.Owned, stats.Quarantined, stats.QuarantineLeft
		f.Moving = moving(stats)
	}
	voters := n.voters()
	if len(voters) == 0 {
		voters = n.agree.Voters()
	}
	f.Voters = n.votersSeen(a, voters, f.InView)
	if !f.InView {
		f.Joining = n.joining()
		for _, u := range n.gossip.Unreached() {
			f.Seeds = append(f.Seeds, condition.Seed{Addr: u.Seed, Why: u.Why})
		}
	} else {
		f.Spare = spare(a.View, voters)
	}
	return f
}

// joining says why this process is in no view, as far as it knows, or "".
func (n *Node) joining() string {
	if why := n.promises.why.Load(); why != nil && *why != "" && n.views.Now() == nil {
		return *why
	}
	return n.member.Why()
}

// votersSeen returns all voters, and which of them answer. A member hears from them by its
// calls; a process that is in no view knows only whom gossip believes to live.
func (n *Node) votersSeen(a *epoch.View, ids []string, inView bool) (list []condition.Voter) {
	for _, id := range ids {
		v := condition.Voter{ID: id, Answers: n.answers(id, inView)}
		if a != nil {
			m, in := a.FindID(id)
			if !in {
				m = a.State.LastOf(id)
			}
			v.Name, v.Addr, v.InView = m.Name, m.Peer, in
		} else {
			m := n.agree.State().LastOf(id)
			v.Name, v.Addr = m.Name, m.Peer
		}
		list = append(list, v)
	}
	return list
}

// answers reports whether a voter has answered this process of late.
func (n *Node) answers(id string, inView bool) bool {
	if id == n.self.ID {
		return true
	}
	if inView {
		return n.peers.Reached(id, n.clock()-n.lease())
	}
	return n.gossips(id)
}

// gossips reports whether gossip believes that a process with this id lives.
func (n *Node) gossips(id string) bool {
	for _, g := range n.gossip.Processes() {
		if g.Meta.GetIdentity().GetId() == id {
			return true
		}
	}
	return false
}

// spare is the name of a member without a seat that could take one, or "".
func spare(v ring.View, voters []string) string {
	for _, m := range v.Members {
		if len(voters) > 0 && !slices.Contains(voters, m.ID) && !m.Leaving {
			return m.Name
		}
	}
	return ""
}

// seatWaits reports whether the seat of a voter that is no member waits for a member.
func seatWaits(v ring.View, seats []sharelock.Seat) bool {
	var voters []string
	for _, s := range seats {
		voters = append(voters, s.ID)
	}
	return spare(v, voters) != "" && slices.ContainsFunc(seats, func(s sharelock.Seat) bool { return s.Absent })
}

// silent reports for each member of the view whether it does not answer this process: a voter by
// its calls, another member by gossip.
func (n *Node) silent(a *epoch.View, voters []string) map[ring.Identity]bool {
	alive := map[string]bool{n.self.ID: true}
	for _, g := range n.gossip.Processes() {
		alive[ringproto.DecodeIdentity(g.Meta.GetIdentity()).ID] = true
	}
	silent := make(map[ring.Identity]bool)
	inView := a.Has(n.self)
	for _, m := range a.Members {
		if slices.Contains(voters, m.ID) {
			silent[m.Identity] = !n.answers(m.ID, inView)
		} else {
			silent[m.Identity] = !alive[m.ID]
		}
	}
	return silent
}

// explain adds the worst condition to why this node is not ready.
func (n *Node) explain(err error) error {
	e, ok := err.(*sharelock.Error) //nolint:errorlint // Ready makes them, unwrapped
	worst := n.conditions.Worst()
	if !ok || worst == "" {
		return err
	}
	explained := *e
	if n.views.Now() == nil {
		explained.Message = worst // it says all that Ready knows
	} else {
		explained.Message += "; " + worst
	}
	return &explained
}

// moving counts the partitions of which this process owns one and may not serve it yet, or is to
// have a copy that is not up to date.
func moving(s owner.Stats) int { return s.Owned - s.Active + s.Backed - s.Synced }
