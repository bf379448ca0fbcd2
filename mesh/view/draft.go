package view

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/ring"
)

// draft is a view in the making and what brings it about.
type draft struct {
	view ring.View
	// silent members are removed for it (V5), left ones have gone in good order (V7), told
	// ones were marked, and G1 has told them of every partition (V6a).
	silent, left, told []ring.Member
	// leaving, marked, unmarked, refreshed and joining are further reasons.
	leaving, marked, unmarked, refreshed, joining []ring.Member
	// heir is the voter that shall lead, and decide instead, because it hears the member
	// unheard (V5); "" is nobody.
	heir    string
	unheard ring.Identity
	// rises: the view's release is higher than that of the one before (W1).
	rises bool
}

// removed are the members that are not in the draft any more.
func (d draft) removed() []ring.Member { return slices.Concat(d.silent, d.left, d.told) }

// why names the reasons; "" says that no new view is due.
func (d draft) why() string {
	restarted, rest := d.restarted()
	reasons := restarted
	for _, r := range []struct {
		members []ring.Member
		what    string
	}{
		{rest.silent, "is silent"},
		{d.left, "left"},
		{d.told, "was marked and is not needed any more"},
		{d.leaving, "is leaving"},
		{d.marked, "is in broken pairs"},
		{d.unmarked, "has to stay"},
		{d.refreshed, "needs an epoch"},
		{rest.joining, "joins"},
	} {
		for _, m := range r.members {
			reasons = append(reasons, m.Name+" "+r.what)
		}
	}
	if d.rises {
		reasons = append(reasons, fmt.Sprintf("the release rises to %d", d.view.Release))
	}
	return strings.Join(reasons, ", ")
}

// restarted returns the reasons of those processes that are silent in one run and join in the
// next, and the draft without them.
func (d draft) restarted() (reasons []string, rest draft) {
	again := func(of []ring.Member, m ring.Member) bool {
		return slices.ContainsFunc(of, func(other ring.Member) bool { return other.ID == m.ID })
	}
	for _, m := range d.silent {
		if again(d.joining, m) {
			reasons = append(reasons, m.Name+" has restarted")
		} else {
			rest.silent = append(rest.silent, m)
		}
	}
	for _, m := range d.joining {
		if !again(d.silent, m) {
			rest.joining = append(rest.joining, m)
		}
	}
	if len(reasons) > 1 && len(rest.silent) == 0 {
		reasons = []string{fmt.Sprintf("%d members have restarted", len(reasons))}
	}
	return reasons, rest
}

// draft is the next view. It changes nothing. It needs l.mu.
func (l *Leader) draft(now time.Duration, view ring.View) draft {
	var d draft
	late := false // someone missed two renewals, or is replaced, but cannot be removed yet
	for i, m := range view.Members {
		st := l.members[m.Identity]
		silent := now - st.renewed
		switch {
		case st.left:
			d.left = append(d.left, m)
			continue
		case m.Evicted && st.told:
			// V6a: it is off the ring in the view that it was told of, so its lease does no harm.
			d.told = append(d.told, m)
			continue
		case silent >= rules.Stretch(l.lease()):
			// V5: nothing was renewed for L stretched.
			if l.takeOut(now, view, m, &d) {
				continue
			}
			late = true
		case st.replaced || st.deaf || silent > missed(l.lease()):
			late = true
		}
		if st.leaving && !m.Leaving && l.othersStay(d.view.Members, view.Members[i+1:]) {
			m.Leaving = true
			d.leaving = append(d.leaving, m)
		}
		if m.Identity == l.chosen && !m.Leaving {
			m.Leaving, m.Evicted = true, true
			d.marked = append(d.marked, m)
		}
		if st.refresh {
			d.refreshed = append(d.refreshed, m)
		}
		d.view.Members = append(d.view.Members, m)
	}
	// V3: while a member is late no join is proposed; then both are one view.
	if !late {
		d.joining = l.admissible(now, d.view.Members)
		d.view.Members = append(d.view.Members, d.joining...)
	}
	l.keepOne(view, &d)
	d.view.Placement = ring.Placement
	d.view.Release = l.releaseOf(view, d.view.Members)
	d.rises = d.view.Release > view.Release
	d.view.Replicas = Replicas(l.agree.State().Constants(), d.view)
	return d
}

// takeOut removes a member that has been silent for L stretched, or notes who shall lead
// instead (V5). It reports whether the member is out. It needs l.mu.
func (l *Leader) takeOut(now time.Duration, view ring.View, m ring.Member, d *draft) bool {
	switch what, heir := l.silent(now, view, m); what {
	case silenceWait:
		return false
	case silenceHandOver:
		d.heir, d.unheard = heir, m.Identity
		return false
	}
	d.silent = append(d.silent, m)
	return true
}

// keepOne lets the marks of V6a fall away if only members would be left that are marked or
// were told to stop: a view keeps a member that stays (V7). That includes a mark whose
// holder would be removed with this view, because G1 has told it of every partition. It
// needs l.mu.
func (l *Leader) keepOne(view ring.View, d *draft) {
	toldToStop := func(m ring.Member) bool {
		st := l.members[m.Identity] // a joiner has none
		return st != nil && st.leaving
	}
	for _, m := range d.view.Members {
		if !m.Leaving && !toldToStop(m) {
			return
		}
	}
	d.told = slices.DeleteFunc(d.told, func(m ring.Member) bool {
		if !toldToStop(m) {
			d.view.Members = append(d.view.Members, m)
		}
		return !toldToStop(m)
	})
	joined := func(m ring.Member) int {
		return slices.IndexFunc(view.Members, func(o ring.Member) bool { return o.Identity == m.Identity })
	}
	slices.SortFunc(d.view.Members, func(a, b ring.Member) int { return cmp.Compare(joined(a), joined(b)) })
	for i, m := range d.view.Members {
		if m.Evicted && !toldToStop(m) {
			d.view.Members[i].Leaving, d.view.Members[i].Evicted = false, false
			d.unmarked = append(d.unmarked, m)
		}
	}
}

// othersStay says whether somebody else stays on the ring when a member leaves
// it: one of those before, as decided, or of those after. It needs l.mu.
func (l *Leader) othersStay(before, after []ring.Member) bool {
	for _, m := range before {
		if !m.Leaving {
			return true
		}
	}
	for _, m := range after {
		if st := l.members[m.Identity]; !m.Leaving && !st.leaving && !st.left && !st.stopped {
			return true
		}
	}
	return false
}

// Replicas is the R of a view: what was fixed at the cluster's birth
// (ring.replicas), or by default one more than a quorum of its voters can lose,
// and at least two (protocol, "R"); never more than there are members on the ring.
func Replicas(c Constants, v ring.View) int {
	placed := 0
	for _, m := range v.Members {
		if !m.Leaving {
			placed++
		}
	}
	want := int(c.GetReplicas())
	if want == 0 {
		want = max(2, odd(min(placed, MaxVoters))/2+1)
	}
	return max(min(want, placed), 1)
}

// admissible are the joiners that may be admitted beside those who stay, in the
// order of their ids. It needs l.mu.
func (l *Leader) admissible(now time.Duration, stay []ring.Member) []ring.Member {
	all := slices.Clone(stay)
	for _, id := range slices.Sorted(maps.Keys(l.joins)) {
		if j := l.joins[id]; j.fresh(now, l.lease()) && len(all) < ring.MaxMembers && l.mayJoin(now, j, stay, all) {
			all = append(all, j.member)
		}
	}
	return all[len(stay):]
}

// mayJoin: the joiner reached everybody who stays, and is nobody's double. It
// needs l.mu.
func (l *Leader) mayJoin(now time.Duration, j joining, stay, all []ring.Member) bool {
	for _, m := range stay {
		if !j.reached[m.Identity] {
			return false
		}
	}
	for _, m := range all {
		if m.ID == j.member.ID || m.Name == j.member.Name {
			return false
		}
	}
	return l.memory.mayReturn(placeOf(j.member), now, l.lease())
}
