package views

import "github.com/sgkandale/sharelock/internal/model/search"

// install is A1: from now on the process refuses everything of older views.
func (s *state) install(a uint8) {
	if s.cur.has(a) {
		return
	}
	s.cur |= of(a)
	if s.phase != active && s.lastSet.has(a) {
		s.lastSet, s.lastOwner = 0, 0 // nothing is committed in that epoch any more
	}
}

// can reports whether b answers a request of a, directly or through the leader (V6a).
func (m *Model) can(s *state, a, b uint8) bool {
	if s.calls(a, b) {
		return true
	}
	if m.Off == Relay || !(s.marked.has(a) || s.marked.has(b)) || s.leader == none || s.deaf.has(a) || s.deaf.has(b) {
		return false
	}
	if m.Off == RelayByMembers {
		return s.calls(a, s.leader) && s.calls(s.leader, b)
	}
	return s.calls(a, s.leader) && s.calls(b, s.leader)
}

// activate takes the steps of section 4 that the owner may take.
func (m *Model) activate(s state, take func(search.Step, state)) {
	o := s.owner
	if o == none || !s.reaches(o, o) || !s.cur.has(o) {
		return
	}
	switch s.phase {
	case asking:
		m.ask(s, take)
		if s.answered == s.in || m.Off == AskAll {
			m.choose(s, take)
		}
	case fetching:
		if m.can(&s, o, s.from) {
			n := s
			n.takeCopy(o, s.from)
			n.phase, n.from = syncing, 0
			take(search.Step{Kind: stepFetch, A: o, B: s.from}, n)
		}
	case syncing:
		m.sync(s, take)
	case active:
		m.tell(s, take)
	}
}

// ask is 4.1. All processes that can be asked answer in one step: steps between their answers
// commute with them.
func (m *Model) ask(s state, take func(search.Step, state)) {
	n := s
	for a := range m.N {
		if s.in.has(a) && !s.answered.has(a) && m.can(&s, s.owner, a) {
			n.answered |= of(a)
			if m.Off != A1Stop || a == s.owner {
				n.install(a)
			}
		}
	}
	if n.answered != s.answered {
		take(search.Step{Kind: stepAsk, A: s.owner, B: uint8(n.answered)}, n)
	}
}

// choose is 4.2 and 4.3.
func (m *Model) choose(s state, take func(search.Step, state)) {
	o := s.owner
	best := uint8(0)
	for a := range m.N {
		if s.answered.has(a) {
			best = max(best, s.have[a])
		}
	}
	step := search.Step{Kind: stepChoose, A: o, B: none}
	if s.canCommit() {
		step.Broken = safetyTwo
	}
	if m.Off != Witness && !s.good(best, s.answered) {
		if s.last&s.up&^s.excused != 0 && !s.orphaned(best) && !m.Exceeds {
			step.Broken = durability
		}
		n := s
		n.have[o] = 0
		n.last &^= of(o)
		n.empty |= of(o)
		n.stamp(o)
		n.phase, n.answered = syncing, 0
		take(step, n)
		return
	}
	for a := range m.N {
		if !s.answered.has(a) || s.have[a] != best || s.have[o] == best && a != o {
			continue
		}
		step := step
		step.B = a
		if !s.last.has(a) && !s.empty.has(a) {
			step.Broken = safetyLost
		}
		n := s
		n.answered = 0
		if a == o {
			n.phase = syncing
			n.takeCopy(o, o)
		} else {
			n.phase, n.from = fetching, a
		}
		take(step, n)
	}
}

// takeCopy makes a copy of one process's state the base of this epoch at another.
func (s *state) takeCopy(to, from uint8) {
	copyBit := func(of_ *set) {
		*of_ &^= of(to)
		if of_.has(from) {
			*of_ |= of(to)
		}
	}
	if to != from {
		copyBit(&s.last)
		copyBit(&s.empty)
	}
	s.stamp(to)
}

// sync is 4.4 and 4.5.
func (m *Model) sync(s state, take func(search.Step, state)) {
	o := s.owner
	for b := range m.N {
		if s.replicas.has(b) && !s.synced.has(b) && m.can(&s, o, b) {
			n := s
			n.install(b)
			n.takeCopy(b, o)
			take(search.Step{Kind: stepSync, A: o, B: b}, n)
		}
	}
	if m.Off == DropActive {
		m.tell(s, take)
	}
	if s.synced.all(s.replicas) || m.Off == SyncAll {
		n := s
		n.phase, n.told = active, n.told|of(o)&s.marked
		n.lastOwner, n.lastSet = o, s.replicas
		n.last, n.empty = s.synced, 0
		if m.Off != SyncAll {
			n.last = s.replicas
		}
		take(search.Step{Kind: stepServe, A: o}, n)
	}
}

// tell is G1: a member with an older copy drops it.
func (m *Model) tell(s state, take func(search.Step, state)) {
	for a := range m.N {
		// It makes no difference whether the other members are told.
		if !s.in.has(a) || s.told.has(a) || !s.marked.has(a) && (s.have[a] == 0 || s.synced.has(a)) || !m.can(&s, s.owner, a) {
			continue
		}
		n := s
		n.told |= of(a)
		n.install(a)
		if !s.synced.has(a) {
			n.have[a] = 0
			n.last &^= of(a)
			n.empty &^= of(a)
			n.compress()
		}
		take(search.Step{Kind: stepTell, A: s.owner, B: a}, n)
	}
}

// served reports whether the owner can answer a client.
func (s *state) served() bool {
	if s.phase != active || !s.cur.has(s.owner) || !s.canRenew(s.owner) {
		return false
	}
	for b := range uint8(most) {
		if s.replicas.has(b) && !s.calls(s.owner, b) {
			return false
		}
	}
	return true
}
