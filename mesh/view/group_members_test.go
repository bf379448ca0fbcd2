package view

import (
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// member is a member of the mesh, as the other side of a lease.
type member struct {
	g    *group
	who  ring.Identity
	rate float64 // of its clock
	// until is the end of its lease, by the clock of the leader.
	until time.Duration
}

// member finds the member with this id that joined last.
func (g *group) member(id string) *member {
	g.t.Helper()
	for _, m := range slices.Backward(g.members) {
		if m.who.ID == id {
			return m
		}
	}
	g.t.Fatalf("no member %s", id)
	return nil
}

// renew asks for a lease and takes the answer.
func (m *member) renew(to *proc, of ...string) peerv1.RenewResponse_Outcome {
	return m.ask(to, &peerv1.RenewRequest{Complaints: m.g.complaints(of)})
}

func (m *member) ask(to *proc, req *peerv1.RenewRequest) peerv1.RenewResponse_Outcome {
	sent := m.g.clock()
	l := to.leader.Load()
	if l == nil {
		return peerv1.RenewResponse_OUTCOME_NOT_LEADER
	}
	req.Member = ringproto.EncodeIdentity(m.who)
	if req.Epoch == 0 {
		req.Epoch = m.g.now().view.Epoch
	}
	if req.Told && req.Epoch == m.g.now().view.Epoch {
		// It is off the ring in a view that it was told of, so it owns nothing (V6a).
		m.g.mu.Lock()
		m.until = 0
		m.g.mu.Unlock()
	}
	for _, c := range m.g.callersOf(m.who.ID) {
		req.Callers = append(req.Callers, ringproto.EncodeIdentity(c))
	}
	out := l.Renew(m.g.t.Context(), req).GetOutcome()
	if req.Told {
		return out
	}
	if out == peerv1.RenewResponse_OUTCOME_RENEWED {
		now, v := m.g.clock(), m.g.now().view
		m.g.mu.Lock()
		m.until = max(m.until, sent+time.Duration(float64(lease)/m.rate))
		m.check(now, v)
		m.g.mu.Unlock()
	}
	return out
}

// check needs g.mu.
func (m *member) check(now time.Duration, v ring.View) {
	if _, in := v.Find(m.who); !in && now < m.until {
		m.g.t.Errorf("%s: at %v %s holds a lease until %v, but is not in %v", invariant.LeaseInView, now, m.who.ID, m.until, v)
	}
}

// checkReached needs g.mu (V3).
func (g *group) checkReached(v ring.View) {
	if len(g.views) == 0 {
		return
	}
	before := g.views[len(g.views)-1].view
	for _, m := range v.Members {
		if _, was := before.Find(m.Identity); was {
			continue
		}
		for _, stays := range before.Members {
			if _, in := v.Find(stays.Identity); in && !slices.Contains(g.reached[m.Identity], stays.Identity) {
				g.t.Errorf("%s: %s is admitted and has not reached %s", invariant.AllReached, m.ID, stays.ID)
			}
		}
	}
}

// told makes a marked member report that G1 has told it of every partition.
func (g *group) told(to *proc, id string) {
	g.t.Helper()
	if out := g.member(id).ask(to, &peerv1.RenewRequest{Told: true}); out != renewed {
		g.t.Errorf("%s, told of all, is answered %v", id, out)
	}
	synctest.Wait()
}

func (g *group) complaints(of []string) (list []*peerv1.Identity) {
	for _, id := range of {
		list = append(list, ringproto.EncodeIdentity(g.member(id).who))
	}
	return list
}

// renewing makes these members renew every L/5, until the given time or, if it is 0, until the end.
func (g *group) renewing(to *proc, ids string, until time.Duration, complaints ...string) {
	for i, id := range strings.Fields(ids) {
		m := g.member(id)
		go func() {
			// Not all at the same time, and not at the times of the leader's looks.
			wait(g.t.Context(), time.Duration(i+1)*7*time.Millisecond)
			for g.t.Context().Err() == nil && (until == 0 || g.clock() < until) {
				m.renew(to, complaints...)
				wait(g.t.Context(), lease/5)
			}
		}()
	}
}

// joins asks for admission every L/20 until it is granted, or until the given time.
func (g *group) joins(to *proc, m ring.Member, reached string, until time.Duration) {
	req := &peerv1.JoinRequest{Member: ringproto.EncodeMember(m), OldestRelease: release.Oldest}
	g.mu.Lock()
	g.reached[m.Identity] = nil
	for id := range strings.FieldsSeq(reached) {
		who := g.member(id).who
		req.Reached = append(req.Reached, ringproto.EncodeIdentity(who))
		g.reached[m.Identity] = append(g.reached[m.Identity], who)
	}
	g.mu.Unlock()
	go func() {
		wait(g.t.Context(), 3*time.Millisecond)
		for g.t.Context().Err() == nil && (until == 0 || g.clock() < until) {
			if l := to.leader.Load(); l != nil && l.Join(req).GetOutcome() == peerv1.JoinResponse_OUTCOME_ADMITTED {
				return
			}
			wait(g.t.Context(), lease/20)
		}
	}()
}

// starts returns what a start of a process says of itself when it joins.
func starts(id string, counter uint64) ring.Member {
	return ring.Member{Identity: ring.Identity{ID: id, Counter: counter, Nonce: 8}, Name: id, Peer: id + ":1", Release: release.Oldest}
}
