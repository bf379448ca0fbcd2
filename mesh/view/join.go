package view

import (
	"time"

	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// joining is a request for admission.
type joining struct {
	member  ring.Member
	reached map[ring.Identity]bool
	at      time.Duration
}

// comeback counts the admissions of an id that was removed without having left.
type comeback struct {
	times int
	last  time.Duration
}

// Join takes a request for admission (V3). The answer is mostly "wait": the
// joiner asks again, and the view that admits it reaches it with the answer or
// as an install.
func (l *Leader) Join(req *peerv1.JoinRequest) *peerv1.JoinResponse {
	now := l.clock()
	s := l.agree.State()
	who := MemberFromProto(req.GetMember())
	resp := &peerv1.JoinResponse{Outcome: peerv1.JoinResponse_OUTCOME_WAIT, History: StateToProto(s)}
	if why := badJoiner(who); why != "" {
		resp.Why = why
		return resp
	}
	if _, in := s.View().Find(who.Identity); in {
		resp.Outcome = peerv1.JoinResponse_OUTCOME_ADMITTED
		return resp
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[who.ID] = now
	for _, m := range s.View().Members {
		st := l.members[m.Identity]
		fresh := st != nil && !st.left && now-st.renewed <= l.lease()
		switch {
		case m.ID == who.ID && m.Counter >= who.Counter:
			resp.Outcome, resp.Why = peerv1.JoinResponse_OUTCOME_ID_TAKEN, "member "+m.Identity.String()+" has this id"
			return resp
		case m.ID != who.ID && m.Name == who.Name && fresh:
			resp.Outcome, resp.Why = peerv1.JoinResponse_OUTCOME_NAME_TAKEN,
				"node.name \""+m.Name+"\" is used by the live member "+m.ID+" at "+m.Peer
			return resp
		}
	}
	reached := make(map[ring.Identity]bool, len(req.GetReached()))
	for _, r := range req.GetReached() {
		reached[IdentityFromProto(r)] = true
	}
	_, known := l.joins[who.ID]
	if old := l.joins[who.ID]; old.member.Counter > who.Counter {
		resp.Why = "a later start of this process is joining"
		return resp
	}
	l.joins[who.ID] = joining{member: who, reached: reached, at: now}
	if !known {
		l.wake()
	}
	resp.Why = "waiting for the next view"
	return resp
}

// badJoiner says what is missing in what a joiner says of itself.
func badJoiner(m ring.Member) string {
	switch {
	case m.ID == "" || m.Counter == 0:
		return "a joiner needs an id and an incarnation"
	case m.Name == "" || m.Peer == "":
		return "a joiner needs a name and a peer address"
	case m.Leaving:
		return "a joiner cannot be leaving"
	}
	return ""
}

// noteRemoval counts a removal of a member that did not leave in good order. It
// needs l.mu.
func (l *Leader) noteRemoval(id string, now time.Duration) {
	c := l.comebacks[id]
	if now-c.last > time.Minute {
		c.times = 0
	}
	c.times++
	c.last = now
	l.comebacks[id] = c
}
