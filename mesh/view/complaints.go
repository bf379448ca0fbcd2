package view

import (
	"time"

	"github.com/sgkandale/sharelock/owner/mutant"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// evict chooses who is to go because of broken pairs (V6): it is renewed no more,
// and removed as if it were silent. One at a time, so that what its removal mends
// is seen before the next. True means that it would be the leader itself, which then hands over, at most once a minute. It
// needs l.mu.
func (l *Leader) evict(now time.Duration, view ring.View) (self bool) {
	for _, m := range l.members {
		if m.evicted {
			return false
		}
	}
	victim, pairs := l.mostBroken(now, view, "")
	if pairs == 0 {
		return false
	}
	if victim.ID == l.self {
		if !l.yielded || now-l.yieldedAt >= time.Minute {
			l.yielded, l.yieldedAt = true, now
			return true
		}
		// Nobody took leadership over, so the other one of a pair has to go.
		if victim, pairs = l.mostBroken(now, view, victim.ID); pairs == 0 {
			return false
		}
	}
	l.log.Warn("evicts", "member", victim.Name, "broken", pairs)
	l.members[victim.Identity].evicted = true
	return false
}

// gap is the time without a renewal after which a member does not count as renewing:
// two were missed.
func gap(lease time.Duration) time.Duration { return 2 * lease / 5 }

// insist is how long a member has to complain of another before that counts: it says so
// with one renewal and again with the next. One that was cut off or slept, and is back,
// has a first renewal to send before it has heard of everybody; nobody is to go for
// that.
func insist(lease time.Duration) time.Duration { return lease / 10 }

// lull is the time without a renewal after which a member's complaints begin anew: who
// slept for less has nobody to complain of because of that, see complainAfter in package
// mesh. One attempt to renew that came to nothing is no lull.
func lull(lease time.Duration) time.Duration { return lease / 2 }

// hear takes what a member says with a renewal that arrived then (V6). It needs l.mu.
func (l *Leader) hear(who ring.Identity, complaints []*peerv1.Identity, arrived time.Duration) {
	m := l.members[who]
	silent, most := arrived-m.renewed, gap(l.lease())
	if m.assumed {
		most = l.lease() / 4 // all who can renew do so soon after a leader has taken up
	}
	if silent > most {
		// What was said of it meanwhile says that it was silent, and nothing of a pair.
		for _, other := range l.members {
			delete(other.complaints, who)
		}
	}
	said := m.complaints
	if silent > lull(l.lease()) {
		said = nil
	}
	m.renewed, m.assumed, m.complaints = max(m.renewed, arrived), false, nil
	for _, c := range complaints {
		if m.complaints == nil {
			m.complaints = map[ring.Identity]time.Duration{}
		}
		id := IdentityFromProto(c)
		first, again := said[id]
		if !again {
			first = arrived
		}
		m.complaints[id] = first
	}
}

// complains: a says that it waits for b, and not for the first time since both renew. It
// needs l.mu.
func (l *Leader) complains(a, b ring.Member) bool {
	st := l.members[a.Identity]
	first, waits := st.complaints[b.Identity]
	return waits && st.renewed-first >= insist(l.lease())
}

// mostBroken is the member with the most broken pairs, of several the one that
// joined last; but not the one with this id. A complaint between two members that
// both renew breaks their pair, whoever complains.
func (l *Leader) mostBroken(now time.Duration, view ring.View, not string) (victim ring.Member, most int) {
	renews := func(m ring.Member) bool {
		st := l.members[m.Identity]
		return !st.assumed && now-st.renewed <= gap(l.lease())
	}
	broken := func(a, b ring.Member) bool {
		if mutant.On(mutant.ComplainerBelieved) {
			return l.complains(b, a)
		}
		return l.complains(a, b) || l.complains(b, a)
	}
	for i, m := range view.Members {
		pairs := 0
		for j, other := range view.Members {
			if i != j && renews(m) && renews(other) && broken(m, other) {
				pairs++
			}
		}
		if pairs > 0 && pairs >= most && m.ID != not {
			victim, most = m, pairs
		}
	}
	return victim, most
}
