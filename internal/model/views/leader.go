package views

import "github.com/sgkandale/sharelock/internal/model/search"

// renew is a renewal of member a that is answered (V4). The member gets the lease and the view,
// and reports its complaints and claims.
func (m *Model) renew(s state, a uint8, take func(search.Step, state)) {
	if !s.canRenew(a) {
		return
	}
	n := s
	n.leased |= of(a)
	n.install(a)
	n.silence[a], n.heard[a], n.claims[a] = renews, 0, 0
	n.handed &^= of(a)
	m.claim(&n, a)

	// It may not have waited long enough for a complaint (V6).
	broken := n.waitsFor(a)
	quiet := n
	quiet.complaints[a] &= broken
	if quiet.complaints[a] != broken {
		quiet.begin(&s, a)
		take(search.Step{Kind: stepRenewWaiting, A: a}, quiet)
	}
	if m.Off == Complaints {
		broken = 0
	}
	n.complaints[a] = broken
	n.begin(&s, a)
	take(search.Step{Kind: stepRenew, A: a}, n)
}

// begin records that a has renewed since the oldest complaint began, which may be in this
// renewal.
func (s *state) begin(before *state, a uint8) {
	if !before.complained() {
		s.fresh = 0
	}
	s.fresh |= of(a)
}

// waitsFor returns the members for which a waits in vain. All members have something to send to
// each other, for other partitions. What they send to a leaving member goes through the leader,
// and the pair counts as whole (V6a).
func (s *state) waitsFor(a uint8) (b set) {
	if s.marked.has(a) {
		return 0
	}
	for other := range uint8(most) {
		if s.placed().has(other) && !s.calls(a, other) {
			b |= of(other)
		}
	}
	return b
}

// complained reports whether there is a broken pair.
func (s *state) complained() bool {
	for a := range uint8(most) {
		if s.complaints[a] != 0 && s.pairs(a) != 0 {
			return true
		}
	}
	return false
}

// claim records, with a renewal of voter v, which silent members call v (V5).
func (m *Model) claim(s *state, v uint8) {
	for silent := range m.N {
		if !s.voters.has(v) || v == silent || s.silence[silent] < countsNow {
			continue
		}
		s.heard[silent] |= of(v)
		s.claims[silent] &^= of(v)
		called := s.calls(silent, v)
		if m.Off == OwnCalls {
			called = s.calls(v, silent)
		}
		others := s.in & s.callers(s.leader)
		if called && s.callers(v).all(others&^of(silent)) {
			s.claims[silent] |= of(v)
		}
	}
}

// beSilent lets time pass without a renewal of member a, but not while another member that was
// silent for long has to renew first.
func (m *Model) beSilent(s state, a uint8, take func(search.Step, state)) {
	if !s.in.has(a) || !s.leads() || s.silence[a] == leaseOver {
		return
	}
	if s.canRenew(a) && !(s.late.has(a) && a != s.leader && s.silence[a] == renews) {
		return
	}
	for b := range m.N {
		if s.silence[b] >= countsNow && s.canRenew(b) {
			return // it can renew again, which takes at most L/5
		}
	}
	n := s
	n.silence[a]++
	switch n.silence[a] {
	case countsNow:
		n.heard[a], n.claims[a] = 0, 0
	case leaseOver:
		n.leased &^= of(a)
	}
	take(search.Step{Kind: stepSilent, A: a, B: n.silence[a]}, n)
}

// join lets a voter that is not in the view ask to join; it makes claims as in a renewal.
func (m *Model) join(s state, v uint8, take func(search.Step, state)) {
	if m.JoinersClaim && !s.in.has(v) && s.leads() && s.calls(v, s.leader) {
		n := s
		m.claim(&n, v)
		take(search.Step{Kind: stepJoin, A: v}, n)
	}
}

// elections lets voters elect a leader if there is none. A leader that hears too few, or may not
// stay, hands over.
func (m *Model) elections(s state, take func(search.Step, state)) {
	for c := range m.N {
		if !s.electable(c) || c == s.leader {
			continue
		}
		n := s
		n.lead(c, 0)
		switch {
		case !s.leads():
			take(search.Step{Kind: stepElect, A: c}, n)
		case !s.hearsMajority(): // V5
			take(search.Step{Kind: stepHandOverLost, A: c, Change: true}, n)
		case s.heirs().has(c) && (s.marked.has(s.leader) || m.choice(&s) == s.leader): // V6a, V7
			take(search.Step{Kind: stepHandOverMarked, A: c, Change: true}, n)
		}
		for silent := range m.N {
			if s.leads() && s.hearsMajority() && m.handsOver(&s, silent) && s.claims[silent].has(c) && m.mayTakeOver(&s, c) {
				n := s
				n.lead(c, of(silent))
				if m.Off == OneHandOver {
					n.handed = 0
				}
				take(search.Step{Kind: stepHandOverSilent, A: c, B: silent, Change: true}, n)
			}
		}
	}
}

// heirs returns the voters to which a leader that must leave may hand over: unmarked voters that
// every member that renews can call (V6a). If there are none, a marked leader that was not told
// to stop hands over to one that was (V7).
func (s *state) heirs() (unmarked set) {
	var stopping set
	for c := range uint8(most) {
		if c == s.leader || !s.in.has(c) || !s.electable(c) || !s.callers(c).all(s.in&s.callers(s.leader)) {
			continue
		}
		if !s.marked.has(c) {
			unmarked |= of(c)
		} else if s.leaving.has(c) {
			stopping |= of(c)
		}
	}
	if unmarked == 0 && s.marked.has(s.leader) && !s.leaving.has(s.leader) {
		return stopping
	}
	return unmarked
}

// handsOver reports whether leadership goes, for this silence, to a voter that has the claims, if
// there is one. If the member still calls the leader, which does not renew it, no other leader is
// needed (V5).
func (m *Model) handsOver(s *state, silent uint8) bool {
	return m.Off != HandOver && s.in.has(silent) && s.silence[silent] >= countsNow &&
		!s.handed.has(silent) && !m.callsLeader(s, silent)
}

// callsLeader reports whether the member still calls the leader, which does not renew it. (A
// member that calls the leader and is renewed would not be silent.)
func (m *Model) callsLeader(s *state, a uint8) bool {
	return s.stopped.has(a) || m.Off == OwnCalls && s.calls(s.leader, a)
}

// mayTakeOver reports whether the voter is unmarked (V5).
func (m *Model) mayTakeOver(s *state, v uint8) bool { return m.MarkedTakeOver || !s.marked.has(v) }

// removable reports whether V5 allows the removal of the member.
func (m *Model) removable(s *state, a uint8) bool {
	if s.silence[a] < leaseOver && (m.Off != WaitLease || s.silence[a] == renews) {
		return false
	}
	if s.handed.has(a) || m.Off == HandOver || m.callsLeader(s, a) {
		return true
	}
	for v := range m.N {
		if v == a || v == s.leader || !s.voters.has(v) {
			continue
		}
		renewing := s.in.has(v) && s.silence[v] != leaseOver
		if m.JoinersClaim && !s.in.has(v) {
			renewing = s.calls(v, s.leader)
		}
		if m.Off != WaitClaims && renewing && !s.heard[a].has(v) {
			return false
		}
		if s.claims[a].has(v) && m.mayTakeOver(s, v) && renewing {
			return false // leadership is handed over instead
		}
	}
	return true
}

// choice returns the member that V6 marks or removes, or none: of those with the most broken
// pairs, the one that joined last. The leader chooses when all that renew have renewed in this
// view and term since the oldest complaint began, and while none has missed two (V6a).
func (m *Model) choice(s *state) uint8 {
	if !s.complained() || !s.fresh.all(s.in) {
		return none
	}
	for a := range m.N {
		if s.in.has(a) && s.silence[a] != renews {
			return none
		}
	}
	return m.mostBroken(s, 0)
}

func (m *Model) mostBroken(s *state, not set) uint8 {
	victim, pairs := none, 0
	for _, a := range s.order[:s.in.len()] {
		if n := s.pairs(a).len(); n > 0 && n >= pairs && !not.has(a) {
			victim, pairs = a, n
		}
	}
	return victim
}

// pairs returns the members with which a is a broken pair, whichever of them complains: both
// renew, if only irregularly. The pairs of leaving members count as whole.
func (s *state) pairs(a uint8) (with set) {
	renewing := s.placed()
	for b := range uint8(most) {
		if s.silence[b] >= countsNow {
			renewing &^= of(b)
		}
	}
	for b := range uint8(most) {
		if renewing.has(a) && renewing.has(b) && (s.complaints[a].has(b) || s.complaints[b].has(a)) {
			with |= of(b)
		}
	}
	return with
}

// takeOut returns the member that V6 marks or removes by the next view. A leader that is chosen
// hands over if it can; otherwise the next member is chosen.
func (m *Model) takeOut(s *state) uint8 {
	victim := m.choice(s)
	if victim != s.leader || victim == none {
		return victim
	}
	if s.heirs() != 0 {
		return none
	}
	return m.mostBroken(s, of(victim))
}

// irregular marks a member that keeps missing renewals while a choice waits (V6a).
func (m *Model) irregular(s state, take func(search.Step, state)) {
	if !s.leads() || s.mostComplained(m) == none {
		return
	}
	for a := range m.N {
		if s.late.has(a) && a != s.leader && s.placed().has(a) && s.silence[a] == missedTwo && !s.stopped.has(a) {
			n := s
			if m.Off == Irregular {
				n.stopped |= of(a)
				take(search.Step{Kind: stepIrregular, A: a}, n)
			} else if s.placed() != of(a) {
				m.nextView(&s, draft{marks: of(a)}, stepIrregular, a, take)
			}
		}
	}
}

func (s *state) mostComplained(m *Model) uint8 { return m.mostBroken(s, 0) }

// deafness stops the renewals of a leaving member that does not answer what waits for it at the
// leader, although it renews (V6a).
func (m *Model) deafness(s state, take func(search.Step, state)) {
	if !s.leads() || m.Off == Deaf {
		return
	}
	for a := range m.N {
		if s.in.has(a) && s.marked.has(a) && !s.stopped.has(a) && a != s.leader && s.canRenew(a) && s.ownerNeeds(a) &&
			s.reaches(s.owner, s.leader) && !m.can(&s, s.owner, a) {
			n := s
			n.stopped |= of(a)
			take(search.Step{Kind: stepDeaf, A: a}, n)
		}
	}
}

// ownerNeeds reports whether the owner waits for the member.
func (s *state) ownerNeeds(a uint8) bool {
	switch s.phase {
	case asking:
		return !s.answered.has(a)
	case fetching:
		return s.from == a
	case active:
		return !s.told.has(a)
	}
	return false
}
