package view

import (
	"fmt"
	"slices"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/ring"
)

// ceiling returns the highest release that a member allows a view to have (W1).
func ceiling(m ring.Member) uint32 {
	if m.Hold > 0 {
		return min(m.Release, m.Hold)
	}
	return m.Release
}

// releaseOf returns the release of the view that comes after prev (W1): the highest that all its
// members and all seats have, unless a member holds it back. It never falls. It needs l.mu.
func (l *Leader) releaseOf(prev ring.View, members []ring.Member) uint32 {
	next, why := l.program.Newest, ""
	lower := func(to uint32, who string) {
		if to < next {
			next, why = to, who
		}
	}
	for _, m := range members {
		who := "member " + m.Name
		if m.Hold > 0 && m.Hold < m.Release {
			who += " holds it back (mesh.hold_release)"
		}
		lower(ceiling(m), who)
	}
	if next > prev.Release {
		// Seats and nearby processes matter only if the release would rise.
		for seat, most := range l.seatReleases(members) {
			lower(most, seat)
		}
		if l.nearby != nil {
			// A process that has promised to follow the founder, or was just removed, could not
			// join a view with a higher release than its own.
			for _, most := range l.nearby() {
				lower(most, "a live process that is not in the view")
			}
		}
	}
	l.sayHeldBack(next, prev.Release, why, members)
	return max(next, prev.Release)
}

// seatReleases returns, by a name for the log, the release of each seat whose holder is not among
// the members. It is the release in the last view that contains the holder, which may come back
// with that release. A seat that no view of the history contains has release 0, so it holds the
// release back.
func (l *Leader) seatReleases(members []ring.Member) map[string]uint32 {
	seats, err := l.agree.Seats()
	if err != nil {
		return map[string]uint32{"seats that are not known": 0}
	}
	absent := map[string]uint32{}
	views := l.agree.State().History.Views
	for _, s := range seats {
		if slices.ContainsFunc(members, func(m ring.Member) bool { return m.ID == s.ID }) {
			continue
		}
		who, most := "the absent seat "+s.ID, uint32(0)
		for _, v := range slices.Backward(views) {
			if m, in := v.FindID(s.ID); in {
				who, most = "the absent seat of "+m.Name, ceiling(m)
				break
			}
		}
		absent[who] = most
	}
	return absent
}

// sayHeldBack logs, once for each reason, why the release does not rise although a member has a
// higher one. It needs l.mu.
func (l *Leader) sayHeldBack(next, now uint32, why string, members []ring.Member) {
	if next > now || !slices.ContainsFunc(members, func(m ring.Member) bool { return m.Release > now }) {
		why = ""
	}
	if why != l.heldBack {
		l.heldBack = why
		if why != "" {
			l.log.Info("the view keeps its release", "release", now, "reason", why)
		}
	}
}

// refuseRelease returns why a process cannot be a member (W2), or "" if it can. It logs the reason
// once for each start of the process. It needs l.mu.
func (l *Leader) refuseRelease(view ring.View, who ring.Member, oldest uint32) string {
	theirs := release.Range{Oldest: oldest, Newest: who.Release}
	if theirs.Has(view.Release) {
		return ""
	}
	why := fmt.Sprintf("%s is %v, and this mesh has release %d", who.Name, theirs, view.Release)
	if l.turnedAway[who.ID] != who.Identity {
		l.turnedAway[who.ID] = who.Identity
		l.log.Error("a process is refused for its release", "name", who.Name, "peer", who.Peer, "why", why)
	}
	return why
}
