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

// draft is a view that may be proposed next, with the reasons for it.
type draft struct {
	view ring.View
	// The view no longer contains these members: silent ones are removed (V5), left ones have left
	// in good order (V7), told ones were marked and G1 has told them of every partition (V6a).
	silent, left, told []ring.Member
	// leaving, marked, unmarked, refreshed and joining members are further reasons, see why.
	leaving, marked, unmarked, refreshed, joining []ring.Member
	// heir is the voter to which leadership is to be handed because it hears the member unheard,
	// and this leader does not (V5); "" if there is none.
	heir    string
	unheard ring.Identity
	// rises is true if the view's release is higher than that of the view before (W1).
	rises bool
}

// removed returns the members that the new view no longer contains.
func (d draft) removed() []ring.Member { return slices.Concat(d.silent, d.left, d.told) }

// why returns the reasons as text; "" means that no new view is due.
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

// restarted returns the reasons for processes that have restarted, so that one start is silent and
// a later one joins. rest has the other silent and joining members.
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

// draft returns the next view. It changes no standing. It needs l.mu.
func (l *Leader) draft(now time.Duration, view ring.View) draft {
	var d draft
	late := false // a member has missed two renewals, or is replaced, but cannot be removed yet
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
			// V5: it was not renewed for L stretched.
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
	// V3: while a member is late no join is proposed, so that one view makes both changes.
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

// takeOut removes from the draft a member that has been silent for L stretched, or sets the draft's
// heir (V5). It reports whether it removed the member. It needs l.mu.
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

// keepOne removes the marks of V6a if every member of the draft is marked or was told to stop: a
// view keeps a member that stays (V7). It also unmarks and keeps members that this view would
// remove because G1 has told them of every partition. It needs l.mu.
func (l *Leader) keepOne(view ring.View, d *draft) {
	toldToStop := func(m ring.Member) bool {
		st := l.members[m.Identity] // nil for a joiner
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

// othersStay reports whether another member stays on the ring when one leaves it. before are the
// members that are in the draft already, after those that are still to be decided. It needs l.mu.
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

// Replicas returns R for a view: ring.replicas as fixed when the cluster was founded, or by default
// one more than the number of voters that a quorum can lose, and at least two (protocol, "R"). R is
// never larger than the number of members on the ring.
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

// admissible returns the joiners that may be admitted to a view with the members that stay, in the
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

// mayJoin reports whether a joiner has reached every member that stays, has an id and a name that
// no member or other joiner has, and is not kept out by its back-off (V3). It needs l.mu.
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
