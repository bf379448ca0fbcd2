package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sgkandale/sharelock/owner/mutant"
	"github.com/sgkandale/sharelock/ring"
)

// draft is a view in the making and what brings it about.
type draft struct {
	view ring.View
	// silent members are removed for it, left ones have gone in good order.
	silent, left []ring.Member
	// leaving, renewed and joining are further reasons.
	leaving, refreshed, joining []ring.Member
	// rises: the view's release is higher than that of the one before (W1).
	rises bool
}

// why names the reasons; "" says that no new view is due.
func (d draft) why() string {
	var reasons []string
	for _, r := range []struct {
		members []ring.Member
		what    string
	}{
		{d.silent, "is silent"},
		{d.left, "left"},
		{d.leaving, "is leaving"},
		{d.refreshed, "needs an epoch"},
		{d.joining, "joins"},
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
		case silent >= stretched(l.lease()), mutant.On(mutant.RemovalWithoutWait) && (st.replaced || st.evicted):
			// V5: nothing was renewed for L stretched.
			d.silent = append(d.silent, m)
			continue
		case st.replaced || st.evicted || silent > 2*l.lease()/5+l.lease()/20:
			late = true
		}
		if st.leaving && !m.Leaving && l.othersStay(d.view.Members, view.Members[i+1:]) {
			m.Leaving = true
			d.leaving = append(d.leaving, m)
		}
		if st.refresh {
			d.refreshed = append(d.refreshed, m)
		}
		d.view.Members = append(d.view.Members, m)
	}
	// V3: while a member is late no join is proposed; then both are one view.
	if !late || mutant.On(mutant.JoinWhileLate) {
		d.joining = l.admissible(now, d.view.Members)
		d.view.Members = append(d.view.Members, d.joining...)
	}
	d.view.Placement = ring.Placement
	d.view.Release = l.releaseOf(view, d.view.Members)
	d.rises = d.view.Release > view.Release
	d.view.Replicas = Replicas(l.agree.State().Constants(), d.view)
	return d
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
		if !j.reached[m.Identity] && !mutant.On(mutant.JoinUnreached) {
			return false
		}
	}
	for _, m := range all {
		if m.ID == j.member.ID || m.Name == j.member.Name {
			return false
		}
	}
	return l.memory.mayReturn(j.member.ID, now, l.lease())
}
