package view

import (
	"errors"
	"fmt"
	"time"

	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// joining is a request for admission.
type joining struct {
	member  ring.Member
	reached map[ring.Identity]bool
	at      time.Duration
	// callers are the members whose own calls reach it, if it is a voter (V5).
	callers map[ring.Identity]bool
	// first is when this start of the process first asked. renewals counts the renewals of an
	// earlier start that have arrived since (V3).
	first    time.Duration
	renewals int
}

// double reports whether the joiner and a member use one data directory: the member has renewed
// twice since the joiner first asked. One renewal may have been in flight (V3).
func (j joining) double() bool { return j.renewals >= 2 }

// fresh reports whether the process has asked within the last lease. An older request is
// void: it neither admits its process nor keeps another one out.
func (j joining) fresh(now, lease time.Duration) bool { return now-j.at <= lease }

// Join handles a request for admission (V3). Usually it answers "wait", and the joiner asks again.
// The view that admits the joiner reaches it with a later answer, or through Peers.Install.
func (l *Leader) Join(req *peerv1.JoinRequest) *peerv1.JoinResponse {
	now := l.clock()
	s := l.agree.State()
	who := ringproto.DecodeMember(req.GetMember())
	resp := &peerv1.JoinResponse{
		Outcome: peerv1.JoinResponse_OUTCOME_WAIT, History: StateToProto(s),
		Release: l.program.Newest, OldestRelease: l.program.Oldest,
	}
	if err := CheckJoiner(who); err != nil {
		resp.Why = err.Error()
		return resp
	}
	if _, in := s.View().Find(who.Identity); in {
		resp.Outcome = peerv1.JoinResponse_OUTCOME_ADMITTED
		return resp
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[who.ID] = now
	l.stops.forget(who.Identity)
	if why := l.refuseRelease(s.View(), who, req.GetOldestRelease()); why != "" {
		resp.Outcome, resp.Why = peerv1.JoinResponse_OUTCOME_RELEASE, why
		return resp
	}
	for _, m := range s.View().Members {
		st := l.members[m.Identity]
		fresh := st != nil && !st.left && now-st.renewed <= l.lease()
		switch {
		case m.ID == who.ID && m.Counter >= who.Counter:
			resp.Outcome, resp.Why = peerv1.JoinResponse_OUTCOME_ID_TAKEN, inUseTwice(m, who)
			if fresh {
				st.double, st.doubled = resp.Why, now
			}
			return resp
		case m.ID != who.ID && m.Name == who.Name && fresh:
			resp.Outcome, resp.Why = peerv1.JoinResponse_OUTCOME_NAME_TAKEN,
				"node.name \""+m.Name+"\" is used by the live member "+m.ID+" at "+m.Peer
			return resp
		}
	}
	reached := make(map[ring.Identity]bool, len(req.GetReached()))
	for _, r := range req.GetReached() {
		reached[ringproto.DecodeIdentity(r)] = true
	}
	old, known := l.joins[who.ID]
	if known = known && old.fresh(now, l.lease()); known && old.member.Counter > who.Counter {
		resp.Why = "a later start of this process is joining"
		return resp
	}
	j := joining{member: who, reached: reached, callers: identities(req.GetCallers()), at: now, first: now}
	if known && old.member.Identity == who.Identity {
		j.first, j.renewals = old.first, old.renewals
	}
	l.joins[who.ID] = j
	if !known {
		l.wake()
	}
	if m, in := s.View().FindID(who.ID); in && j.double() {
		resp.Outcome, resp.Why = peerv1.JoinResponse_OUTCOME_DIRECTORY_IN_USE, inUseTwice(m, who)
		return resp
	}
	resp.Why = "waiting for the next view"
	if left := l.memory.backOffLeft(placeOf(who), now, l.lease()); left > 0 {
		resp.Why = fmt.Sprintf("it keeps coming and going, and is admitted again in %v", left.Round(time.Second/10))
	}
	return resp
}

// inUseTwice says that a member and a process that joins use one data directory.
func inUseTwice(m, joins ring.Member) string {
	return fmt.Sprintf("the data directory of member %s (%s) is in use twice: by the member at %s and by a process at %s, which is kept out while the member renews",
		m.Name, m.ID, m.Peer, joins.Peer)
}

// renewedBeside counts a renewal of a member while a later start of its process asks to join. It
// returns a notice for the member if two processes use its data directory, or if a process with an
// older copy of it was refused (V3). It needs l.mu.
func (l *Leader) renewedBeside(who ring.Identity, arrived time.Duration) (notice string) {
	if m := l.members[who]; m != nil && m.double != "" && arrived-m.doubled <= l.lease() {
		return m.double
	}
	j, joins := l.joins[who.ID]
	if !joins || j.member.Counter <= who.Counter || !j.fresh(arrived, l.lease()) || arrived <= j.first {
		return ""
	}
	j.renewals++
	l.joins[who.ID] = j
	if !j.double() {
		return ""
	}
	l.members[who].replaced = false
	m, _ := l.agree.State().View().Find(who)
	return inUseTwice(m, j.member)
}

// The maximum sizes, in bytes, of what a member says of itself. 100 views of ring.MaxMembers such
// members fit into one message between members, see TestLargestMessages.
const (
	maxIDBytes   = 64
	maxNameBytes = 64
	maxAddrBytes = 64
)

// errBadJoiner is returned for a process that cannot be a member as it describes itself.
var errBadJoiner = errors.New("bad joiner")

// CheckJoiner returns an error if something is missing, too long or not allowed in what a joiner
// says of itself.
func CheckJoiner(m ring.Member) error {
	switch {
	case m.ID == "" || m.Counter == 0:
		return fmt.Errorf("%w: it needs an id and an incarnation", errBadJoiner)
	case m.Name == "" || m.Peer == "":
		return fmt.Errorf("%w: it needs a name and a peer address", errBadJoiner)
	case len(m.ID) > maxIDBytes || len(m.Name) > maxNameBytes:
		return fmt.Errorf("%w: its id or name is too long", errBadJoiner)
	case max(len(m.Peer), len(m.Gossip), len(m.HTTP), len(m.GRPC)) > maxAddrBytes:
		return fmt.Errorf("%w: one of its addresses is too long", errBadJoiner)
	case m.Leaving || m.Evicted:
		return fmt.Errorf("%w: it cannot be leaving", errBadJoiner)
	}
	return nil
}
