package views

import "github.com/sgkandale/sharelock/internal/model/search"

// faults takes the steps of the environment.
func (m *Model) faults(s state, take func(search.Step, state)) {
	for a := range m.N {
		m.faultsOf(s, a, take)
		for b := range m.N {
			m.faultsBetween(s, a, b, take)
		}
	}
}

func (m *Model) faultsOf(s state, a uint8, take func(search.Step, state)) {
	fault := func(kind uint8, budget func(*faults) *uint8, change func(*state)) {
		n := s
		if left := budget(&n.left); *left > 0 {
			*left--
			change(&n)
			take(search.Step{Kind: kind, A: a, Fault: true}, n)
		}
	}
	if !s.up.has(a) {
		// A restarted process is a new incarnation. It joins when the old one is out of the view.
		if !s.in.has(a) && s.leader != a {
			fault(stepRestart, func(f *faults) *uint8 { return &f.restarts }, func(n *state) { n.up |= of(a) })
		}
		return
	}
	fault(stepCrash, func(f *faults) *uint8 { return &f.crashes }, func(n *state) { n.crash(a) })
	if !s.deaf.has(a) {
		fault(stepDeafen, func(f *faults) *uint8 { return &f.deafs }, func(n *state) {
			n.deaf |= of(a)
			n.excused |= of(a)
		})
	}
	if !s.mute.has(a) && s.leader != a {
		fault(stepMute, func(f *faults) *uint8 { return &f.mutes }, func(n *state) {
			n.mute |= of(a)
			n.excused |= of(a)
		})
	}
	if !s.paused.has(a) {
		fault(stepPause, func(f *faults) *uint8 { return &f.pauses }, func(n *state) {
			n.paused |= of(a)
			n.excused |= of(a)
		})
	}
	if !s.late.has(a) && s.leader != a {
		fault(stepLate, func(f *faults) *uint8 { return &f.lates }, func(n *state) { n.late |= of(a) })
	}
	if s.in.has(a) && !s.leaving.has(a) {
		fault(stepAskToLeave, func(f *faults) *uint8 { return &f.leaves }, func(n *state) {
			n.leaving |= of(a)
			n.excused |= of(a)
		})
	}
	if s.leader != a && s.electable(a) {
		fault(stepElectAnyway, func(f *faults) *uint8 { return &f.elections }, func(n *state) { n.lead(a, 0) })
	}
}

func (m *Model) faultsBetween(s state, a, b uint8, take func(search.Step, state)) {
	if a == b || !s.up.has(a) || !s.up.has(b) {
		return
	}
	both := s.cut[a].has(b) && s.cut[b].has(a)
	if a < b && !both && s.left.cuts > 0 {
		n := s
		n.left.cuts--
		n.cut[a] |= of(b)
		n.cut[b] |= of(a)
		take(search.Step{Kind: stepCut, A: a, B: b, Fault: true}, n)
	}
	if !s.cut[a].has(b) && s.left.oneWays > 0 {
		n := s
		n.left.oneWays--
		n.cut[a] |= of(b)
		take(search.Step{Kind: stepCutOneWay, A: a, B: b, Fault: true}, n)
	}
	if s.left.heals > 0 && (s.cut[a].has(b) || s.cut[b].has(a)) && a < b {
		n := s
		n.left.heals--
		n.cut[a] &^= of(b)
		n.cut[b] &^= of(a)
		take(search.Step{Kind: stepHeal, A: a, B: b, Fault: true}, n)
	}
}

// crash ends a process, whose memory is lost. Its links need not be remembered.
func (s *state) crash(a uint8) {
	gone := of(a)
	for _, set := range []*set{
		&s.up, &s.deaf, &s.mute, &s.paused, &s.late, &s.leaving, &s.excused, &s.cur, &s.leased, &s.synced, &s.last, &s.empty,
	} {
		*set &^= gone
	}
	for b := range s.cut {
		s.cut[b] &^= gone
	}
	s.cut[a] = 0
	s.have[a] = 0
	s.forget(a)
	s.compress()
	if s.lastSet.has(a) { // nothing is committed in that epoch any more
		s.lastSet, s.lastOwner = 0, 0
	}
	if s.leader == a {
		s.follow()
	}
}

// follow forgets what only a leader knows.
func (s *state) follow() {
	s.leader = none
	s.silence, s.complaints, s.heard, s.claims = [most]uint8{}, [most]set{}, [most]set{}, [most]set{}
	s.stopped, s.handed, s.fresh = 0, 0, 0
}

// lead makes c the leader. c counts every member as having renewed (V5), and knows for whose
// silence leadership was handed to it.
func (s *state) lead(c uint8, handed set) {
	s.follow()
	s.leader, s.handed = c, handed
}
