package view

import (
	"cmp"
	"slices"
	"time"

	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// missed is the time without a renewal after which a member has missed two.
func missed(lease time.Duration) time.Duration { return 2*lease/5 + lease/20 }

// insist is how long a member has to complain of another before that counts: it says so
// with one renewal and again with the next. One that was cut off or slept, and is back,
// has a first renewal to send before it has heard of everybody; nobody is to go for
// that.
func insist(lease time.Duration) time.Duration { return lease / 10 }

// lull is the time without a renewal after which a member's complaints begin anew: who
// slept for less has nobody to complain of because of that, see complainAfter in package
// mesh. One attempt to renew that came to nothing is no lull.
func lull(lease time.Duration) time.Duration { return lease / 2 }

// A member that misses two renewals irregularMisses times within irregularTime, while a
// choice waits, is itself the choice (V6a).
const irregularMisses = 3

func irregularTime(lease time.Duration) time.Duration { return 10 * lease }

// hear takes what a member says with a renewal that arrived then. Complaints count only
// if the member has the current view: what it waited for in an older one is over (V6a).
// It needs l.mu.
func (l *Leader) hear(who ring.Identity, req *peerv1.RenewRequest, arrived time.Duration) {
	m := l.members[who]
	silent, most := arrived-m.renewed, missed(l.lease())
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
	m.epoch, m.told = req.GetEpoch(), req.GetTold() && req.GetEpoch() == l.epoch
	m.callers, m.mute = identities(req.GetCallers()), req.GetMute()
	delete(l.named, who)
	m.handed = false
	if m.epoch != l.epoch {
		return
	}
	for _, c := range req.GetComplaints() {
		if m.complaints == nil {
			m.complaints = map[ring.Identity]time.Duration{}
		}
		id := ringproto.DecodeIdentity(c)
		first, again := said[id]
		if !again {
			first = arrived
		}
		m.complaints[id] = first
	}
}

func identities(list []*peerv1.Identity) map[ring.Identity]bool {
	set := make(map[ring.Identity]bool, len(list))
	for _, i := range list {
		set[ringproto.DecodeIdentity(i)] = true
	}
	return set
}

// complains reports whether a says that it waits for b, and not for the first time since
// both renew. It needs l.mu.
func (l *Leader) complains(a, b ring.Member) bool {
	st := l.members[a.Identity]
	first, waits := st.complaints[b.Identity]
	return waits && st.renewed-first >= insist(l.lease())
}

// renews reports whether a member has renewed with this leader and missed less than two
// renewals since. It needs l.mu.
func (l *Leader) renews(now time.Duration, m ring.Member) bool {
	st := l.members[m.Identity]
	return st != nil && !st.assumed && !st.left && now-st.renewed <= missed(l.lease())
}

// suspect is a member in broken pairs.
type suspect struct {
	member ring.Member
	pairs  int
}

// suspects are the members in broken pairs in the order in which V6 chooses them: most
// pairs first, of several the one that joined last. A complaint between two members that
// both renew breaks their pair, whoever complains. The pairs of a leaving member count as
// whole (V6a). oldest is when the oldest of these complaints began. It needs l.mu.
func (l *Leader) suspects(now time.Duration, view ring.View) (list []suspect, oldest time.Duration) {
	oldest = now
	broken := func(a, b ring.Member) bool {
		return l.complains(a, b) || l.complains(b, a)
	}
	for i, m := range view.Members {
		pairs := 0
		for j, other := range view.Members {
			if i == j || m.Leaving || other.Leaving || !l.renews(now, m) || !l.renews(now, other) || !broken(m, other) {
				continue
			}
			pairs++
			if first, ok := l.members[m.Identity].complaints[other.Identity]; ok {
				oldest = min(oldest, first)
			}
			if first, ok := l.members[other.Identity].complaints[m.Identity]; ok {
				oldest = min(oldest, first)
			}
		}
		if pairs > 0 {
			list = append(list, suspect{m, pairs})
		}
	}
	slices.Reverse(list)
	slices.SortStableFunc(list, func(a, b suspect) int { return cmp.Compare(b.pairs, a.pairs) })
	return list, oldest
}

// choose is V6: it returns the member that is to be marked leaving, or the voter that is
// to lead because the choice would be this process. It needs l.mu.
func (l *Leader) choose(now time.Duration, view ring.View) (chosen ring.Member, heir string) {
	if !l.complained(view) {
		l.choosing = 0
		return ring.Member{}, ""
	}
	if l.choosing == 0 {
		l.choosing = now
	}
	staying := 0
	for _, m := range view.Members {
		if !m.Leaving {
			staying++
		}
	}
	if staying < 2 { // V7: a view keeps an unmarked member
		return ring.Member{}, ""
	}
	if m, ok := l.irregular(now, view); ok {
		l.log.Warn("marking a member as leaving: it repeatedly misses renewals while a choice is pending", "member", m.Name)
		return m, ""
	}
	list, oldest := l.suspects(now, view)
	if len(list) == 0 || !l.allHeard(now, view, oldest) {
		return ring.Member{}, ""
	}
	for _, s := range list {
		if s.member.ID != l.self {
			l.log.Warn("marking a member as leaving because of broken pairs", "member", s.member.Name, "pairs", s.pairs)
			return s.member, ""
		}
		if heir := l.successor(now, view); heir != "" && l.mayYield(now) {
			l.log.Warn("this leader has the most broken pairs: handing over leadership", "pairs", s.pairs, "to", heir)
			return ring.Member{}, heir
		}
		// No other voter hears all, so the next one has to go.
	}
	return ring.Member{}, ""
}

// complained reports whether a member complains of another that stays. It needs l.mu.
func (l *Leader) complained(view ring.View) bool {
	for _, m := range view.Members {
		if st := l.members[m.Identity]; !m.Leaving && st != nil {
			for of := range st.complaints {
				if other, in := view.Find(of); in && !other.Leaving {
					return true
				}
			}
		}
	}
	return false
}

// allHeard is V6a's condition for a choice: every member has renewed in this view and
// term since the oldest complaint began, and none has missed two renewals. It needs l.mu.
func (l *Leader) allHeard(now time.Duration, view ring.View, oldest time.Duration) bool {
	for _, m := range view.Members {
		if st := l.members[m.Identity]; !l.renews(now, m) || st.epoch != view.Epoch || st.renewed < oldest {
			return false
		}
	}
	return true
}

// irregular is the member that has missed two renewals too often while a choice waits
// (V6a). It needs l.mu.
func (l *Leader) irregular(now time.Duration, view ring.View) (ring.Member, bool) {
	for _, m := range view.Members {
		st := l.members[m.Identity]
		late := !st.assumed && now-st.renewed > missed(l.lease())
		if late && !st.late {
			st.misses = append(st.misses, now)
		}
		st.late = late
		st.misses = slices.DeleteFunc(st.misses, func(at time.Duration) bool { return now-at > irregularTime(l.lease()) })
		if len(st.misses) >= irregularMisses && !m.Leaving && m.ID != l.self {
			return m, true
		}
	}
	return ring.Member{}, false
}
