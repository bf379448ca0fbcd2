package keepalive

import (
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
)

// round makes the requests for the holds that are due. It sets more if it was a part of them, since
// many are.
func (r *Keeper) round(now time.Duration, a *epoch.View, notReady error) (groups []*group, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer clear(r.byPartition)
	var due []*kept
	for range roundMost / roundPart {
		// Half of them are fresh, at most, while others are due.
		due = r.fresh.take(now, r.wheels.take(now, due[:0], roundPart/2), roundPart)
		if len(due) < roundPart {
			due = r.wheels.take(now, due, roundPart)
		}
		if len(due) == 0 {
			return groups, false
		}
		for _, k := range due {
			switch {
			case notReady != nil:
				r.end(now, k, notReady) // Q4: another node may be able to
			case k.session.alive > k.asOf:
				groups = r.gather(now, a, k, groups)
			case now-k.session.heard > rules.Stretch(k.TTL):
				// Q3: the client's own time for it is over, and so it is at the owner, or soon.
				r.end(now, k, errSilentClient)
			default:
				r.wheels.rest(now, k) // its client has not been heard of since
			}
		}
		r.breathe()
	}
	return groups, true
}

// gather puts a hold into a request. It needs mu.
func (r *Keeper) gather(now time.Duration, a *epoch.View, k *kept, groups []*group) []*group {
	g := r.byPartition[k.partition]
	if g == nil || len(g.holds) == owner.MaxRenewals || g.bytes+len(k.Key)+len(k.Principal) > owner.MaxRenewalBytes {
		g = &group{keeper: r, began: now, epoch: a.Epoch, req: owner.Request{Kind: owner.RenewMany, Key: k.Key, Send: 1}}
		r.byPartition[k.partition] = g
		groups = append(groups, g)
		r.flying[g] = struct{}{}
	}
	k.asked = k.session.alive
	g.holds = append(g.holds, k)
	g.req.Renewals = append(g.req.Renewals, &k.Renewal)
	g.req.TTL = max(g.req.TTL, k.TTL)
	g.bytes += len(k.Key) + len(k.Principal)
	return groups
}

// send sends a request to the owner of its partition.
func (r *Keeper) send(now time.Duration, a *epoch.View, g *group) {
	p := a.Partition(g.req.Key)
	m, ok := a.Ring.Owner(p)
	if !ok {
		g.Answer(0, owner.Answer{Outcome: owner.Retry})
		return
	}
	ref := owner.Ref{Caller: g}
	if m.Identity == r.cfg.Self {
		a.Service.SubmitAt(now, p, ref, &g.req)
		return
	}
	l, err := r.cfg.Links.To(m)
	if err != nil {
		g.Answer(0, owner.Answer{Outcome: owner.Retry})
		return
	}
	g.to, g.id = l, l.Register(ref)
	l.Send(g.id, g.epoch, &g.req)
}

// settle takes the answer to a request. It needs mu.
func (r *Keeper) settle(now time.Duration, g *group) {
	delete(r.flying, g)
	if g.to != nil {
		g.to.Forget(g.id)
	}
	done := g.answer.Outcome == owner.Done
	lost, denied := g.answer.Unrenewed.Lists()
	for i, k := range g.holds {
		gone := next(&lost, i)
		others := next(&denied, i)
		switch {
		case k.detached():
		case !done:
			r.wheels.rest(now, k)
		case gone:
			r.end(now, k, &sharelock.Error{Err: sharelock.ErrStaleToken})
		case others:
			r.end(now, k, &sharelock.Error{
				Err: sharelock.ErrPermissionDenied, Message: fmt.Sprintf("key %q is held by another principal than %q", k.Key, k.Principal),
			})
		default:
			r.renewed(now, g.began, k)
		}
	}
}

// next reports whether a number comes first in a list, and takes it out.
func next(list *[]uint32, i int) bool {
	is := len(*list) > 0 && int64((*list)[0]) == int64(i)
	if is {
		*list = (*list)[1:]
	}
	return is
}

// renewed notes that an owner has confirmed a hold. It needs mu.
func (r *Keeper) renewed(now, began time.Duration, k *kept) {
	s := k.session
	k.asOf = k.asked
	r.tell(now, s)
	list := s.renewed
	if n := len(list); n == 0 || list[n-1].keepalive != k.asOf {
		list = append(list, renewedHolds{keepalive: k.asOf})
	}
	last := &list[len(list)-1]
	last.ids = append(last.ids, k.id)
	s.renewed = list
	r.wheels.renewed(now, began, ample(r.cfg.Views.Lease()), k)
}

// end lets go of a hold and has its client told why. It needs mu.
func (r *Keeper) end(now time.Duration, k *kept, err error) {
	s := k.session
	r.tell(now, s)
	s.ended = append(s.ended, endedHold{k.id, err})
	r.detach(s, k.id)
}

// tell enters a session among those that have something to hear, before it has. It
// needs mu.
func (r *Keeper) tell(now time.Duration, s *Session) {
	if len(s.renewed) == 0 && len(s.ended) == 0 {
		if len(r.told) == 0 {
			r.since = now
		}
		r.told = append(r.told, s)
	}
}
