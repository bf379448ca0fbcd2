package view

import (
	"cmp"
	"slices"
	"time"

	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// missed returns the time without a renewal after which a member counts as having missed two.
func missed(lease time.Duration) time.Duration { return 2*lease/5 + lease/20 }

// insist returns for how long a member must complain of another before the complaint counts: it
// takes two renewals in a row (V6). A member that was paused or cut off sends its first renewal
// before it has heard from everybody, and the complaints in it must not remove anybody.
func insist(lease time.Duration) time.Duration { return lease / 10 }

// lull returns the time without a renewal after which a member's earlier complaints are dropped. A
// shorter pause causes no complaints, see complainAfter in package mesh. A single failed attempt to
// renew is not a lull.
func lull(lease time.Duration) time.Duration { return lease / 2 }

// A member that misses two renewals irregularMisses times within irregularTime, while a choice is
// pending, is itself chosen (V6).
const irregularMisses = 3

func irregularTime(lease time.Duration) time.Duration { return 10 * lease }

// hear records what a member reports with a renewal, and when the renewal arrived. Complaints count
// only if the member has the current view: those from an older view are void (V6a). It needs l.mu.
func (l *Leader) hear(who ring.Identity, req *peerv1.RenewRequest, arrived time.Duration) {
	m := l.members[who]
	silent, most := arrived-m.renewed, missed(l.lease())
	if m.assumed {
		most = l.lease() / 4 // every live member renews soon after a new leader has begun
	}
	if silent > most {
		// Complaints about it from this time mean only that it was silent, not that a pair is
		// broken.
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
	m.handed, m.deadHeirs = false, nil
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

// complains reports whether a complains of b, and has done so for as long as insist requires. It
// needs l.mu.
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

// suspects returns the members in broken pairs, in the order in which V6 chooses them: most pairs
// first; on a tie, the member that joined last. A complaint between two members that both renew
// makes a broken pair, whichever of them complains. The pairs of a leaving member count as whole
// (V6a). oldest is when the oldest of these complaints began. It needs l.mu.
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

// choose implements V6. It returns the member to mark as leaving. If that would be this process, it
// returns the voter to hand leadership to instead (heir), if there is one. It needs l.mu.
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
		// No other voter hears all members, so the next suspect is chosen.
	}
	return ring.Member{}, ""
}

// complained reports whether an unmarked member complains of another unmarked one. It needs l.mu.
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

// allHeard is V6's condition for a choice: every member has renewed in this view and term since the
// oldest complaint began, and none has missed two renewals. It needs l.mu.
func (l *Leader) allHeard(now time.Duration, view ring.View, oldest time.Duration) bool {
	for _, m := range view.Members {
		if st := l.members[m.Identity]; !l.renews(now, m) || st.epoch != view.Epoch || st.renewed < oldest {
			return false
		}
	}
	return true
}

// irregular returns the member that has missed two renewals irregularMisses times while a choice is
// pending (V6). It needs l.mu.
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
