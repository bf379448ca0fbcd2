package view

import (
	"time"

	"github.com/sgkandale/sharelock/owner/mutant"
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

// complains: a said, when b renewed already, that it waits for b. It needs l.mu.
func (l *Leader) complains(a, b ring.Member) bool {
	st := l.members[a.Identity]
	return st.complaints[b.Identity] && st.renewed >= l.members[b.Identity].since
}

// mostBroken is the member with the most broken pairs, of several the one that
// joined last; but not the one with this id. A complaint between two members that
// both renew breaks their pair, whoever complains. One about a member that was silent
// when it was said does not: who was paused and is back would leave in broken pairs those
// who have not renewed since.
func (l *Leader) mostBroken(now time.Duration, view ring.View, not string) (victim ring.Member, most int) {
	renews := func(m ring.Member) bool {
		st := l.members[m.Identity]
		return !st.assumed && now-st.renewed <= gap(l.lease())
	}
	broken := func(a, b ring.Member) bool {
		if mutant.On(mutant.ComplainerBelieved) {
			return l.members[b.Identity].complaints[a.Identity]
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
