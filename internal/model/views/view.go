package views

import (
	"github.com/sgkandale/sharelock/internal/model/search"
)

// draft holds the changes of the next view.
type draft struct{ out, marks, joins set }

// propose makes the next view if a change is due. It makes all changes that are due.
func (m *Model) propose(s state, take func(search.Step, state)) {
	if !s.leads() || !s.hearsMajority() || s.marked.has(s.leader) && s.heirs() != 0 {
		return // V6a, V7: a marked leader hands over first
	}
	var d draft
	for a := range m.N {
		switch {
		case !s.in.has(a):
		case m.removable(&s, a):
			d.out |= of(a)
		case s.marked.has(a) && (s.told.has(a) || m.Off == ToldFirst) && a != s.leader:
			d.out |= of(a) // V6a, V7: G1 has told it
		case s.leaving.has(a) && !s.marked.has(a) && s.calls(a, s.leader):
			d.marks |= of(a) // V7
		}
	}
	if a := m.takeOut(&s); a != none {
		if m.Off == Mark {
			n := s
			n.stopped |= of(a)
			take(search.Step{Kind: stepDeaf, A: a}, n)
		} else {
			d.marks |= of(a)
		}
	}
	d.joins = m.joiners(&s, s.in&^d.out)
	if m.Off != Unmarked && s.placed()&^d.out|d.joins == 0 {
		d.out &^= s.marked &^ s.leaving & s.told // V6a's marks are removed (V7)
	}
	if m.Off != Unmarked && s.placed()&^d.marks&^d.out|d.joins == 0 {
		// The last unmarked member is not marked.
		for _, a := range s.order[:s.in.len()] {
			if d.marks.has(a) {
				d.marks &^= of(a)
				break
			}
		}
	}
	if d != (draft{}) {
		m.nextView(&s, d, stepView, 0, take)
	}
}

// joiners returns the processes that may join while stay remain members (V3).
func (m *Model) joiners(s *state, stay set) (in set) {
	for a := range m.N {
		if stay.has(a) && (s.silence[a] != renews || s.stopped.has(a)) {
			return 0
		}
	}
	for j := range m.N {
		if s.in.has(j) || s.leaving.has(j) || s.mute.has(j) || !s.calls(j, s.leader) {
			continue
		}
		ok := true
		for a := range m.N {
			if stay.has(a) {
				ok = ok && (m.Off == Reach || s.calls(j, a)) && (m.Off == DialBack || s.calls(a, j))
			}
		}
		if ok {
			in |= of(j)
		}
	}
	return in
}

// nextView changes the view. Members install it later. It tries every replica set.
func (m *Model) nextView(s *state, d draft, kind, a uint8, take func(search.Step, state)) {
	n := *s
	n.push()
	var order [most]uint8
	i := 0
	for _, a := range s.order[:s.in.len()] {
		if !d.out.has(a) {
			order[i] = a
			i++
		}
	}
	for j := range m.N {
		if d.joins.has(j) {
			order[i] = j
			i++
		}
	}
	n.order = order
	n.in = n.in&^d.out | d.joins
	n.marked = (n.marked | d.marks) & n.in
	if m.Off != Unmarked && n.placed() == 0 {
		n.marked &= n.leaving // V6a's marks are removed (V7)
		if n.placed() == 0 && n.in != 0 {
			return // all members of the view were told to leave
		}
	}
	n.cur, n.fresh = 0, 0
	n.phase, n.answered, n.synced, n.told, n.from = asking, 0, 0, 0, 0
	for j := range m.N {
		if d.out.has(j) || d.joins.has(j) {
			n.silence[j], n.complaints[j], n.heard[j], n.claims[j] = renews, 0, 0, 0
			n.stopped &^= of(j)
			n.handed &^= of(j)
		}
		n.complaints[j] &= n.in
		// A member that leaves in good order gives up its lease and stops.
		if d.out.has(j) && n.leaving.has(j) && s.told.has(j) && n.up.has(j) {
			n.crash(j)
		}
	}
	m.place(n, func(n state) { take(search.Step{Kind: kind, A: a, Change: true}, n) })
}

// place tries every replica set. If no member is on the ring, there is no owner.
func (m *Model) place(s state, with func(state)) {
	placed := s.placed()
	if placed == 0 {
		s.owner, s.replicas = none, 0
		with(s)
		return
	}
	r := min(m.R, placed.len())
	for o := range m.N {
		for replicas := range set(1 << most) {
			if placed.has(o) && replicas.has(o) && placed.all(replicas) && replicas.len() == r {
				s.owner, s.replicas = o, replicas
				with(s)
			}
		}
	}
}
