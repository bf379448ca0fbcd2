package seats

import "github.com/sgkandale/sharelock/internal/model/search"

// raft takes the steps of elections and of the log.
func (m *Model) raft(s state, take func(search.Step, state)) {
	for c := range m.N {
		if !s.leads() {
			m.elect(s, c, stepElect, take)
		}
	}
	if s.leader == none {
		return
	}
	e, top := s.newest(), s.rank[s.leader]
	var have, behind set
	for i := range m.N {
		if s.rank[i] == top {
			have |= of(i)
		} else if s.up.has(i) && (e.seats | e.view | s.now().seats).has(i) {
			behind |= of(i)
		}
	}
	if s.kills+s.losses == 0 {
		m.replicate(s, behind, take) // nobody can be killed in between
	} else {
		for i := range m.N {
			m.replicate(s, behind&of(i), take)
		}
	}
	if !s.settled() && have.decides(e.seats) {
		n := s
		n.joined = s.joined&e.view | s.up&(e.view&^s.now().view)
		n.fresh &^= n.joined
		n.counts = top
		n.compress()
		take(search.Step{Kind: stepCount, A: s.leader}, n)
	}
}

// replicate sends the leader's last entry to processes.
func (m *Model) replicate(s state, to set, take func(search.Step, state)) {
	if to == 0 {
		return
	}
	n := s
	for i := range m.N {
		if to.has(i) {
			n.rank[i] = s.rank[s.leader]
		}
	}
	n.compress()
	take(search.Step{Kind: stepReplicate, A: s.leader, B: uint8(to)}, n)
}

// elect makes c the leader if a majority of the seats of its own newest entry votes for it.
func (m *Model) elect(s state, c uint8, kind uint8, take func(search.Step, state)) {
	e := s.entries[s.rank[c]]
	if !s.up.has(c) || !e.seats.has(c) || c == s.leader {
		return
	}
	var votes set
	for v := range m.N {
		if s.up.has(v) && (s.rank[v] <= s.rank[c] || m.Off == Newest) {
			votes |= of(v)
		}
	}
	if !votes.decides(e.seats) {
		return
	}
	step := search.Step{Kind: kind, A: c}
	if s.rank[c] < s.counts {
		step.Broken = two
	}
	n := s
	n.leader, n.gone, n.closing = c, 0, false
	n.append(e)
	take(step, n)
}

// decide takes the steps of the leader while no entry is in flight.
func (m *Model) decide(s state, take func(search.Step, state)) {
	if !s.leads() || !s.settled() || s.closing {
		return // a leader that has told all to stop does nothing else (V7)
	}
	if s.allTold() && m.Off != AllTold {
		m.stopAll(s, take)
		return
	}
	m.answer(s, take)
	m.views(s, take)
	m.seats(s, take)
}

// allTold reports whether all members of the view were told to stop and no process asks to join.
func (s *state) allTold() bool {
	return s.joined == s.now().view && s.told&s.joined == s.joined && s.asking() == 0
}

// stopAll tells all members to stop; the leader stops last (V7).
func (m *Model) stopAll(s state, take func(search.Step, state)) {
	n := s
	n.answered |= s.told &^ of(s.leader)
	n.gone |= n.answered
	n.closing = true
	take(search.Step{Kind: stepAnswer, A: none}, n)
}

// views changes the view: V5 removes dead members, V3 admits, V7 marks and removes.
func (m *Model) views(s state, take func(search.Step, state)) {
	e := s.now()
	propose := func(kind, i uint8, e entry) {
		e.marked &= e.view
		n := s
		n.append(e)
		take(search.Step{Kind: kind, A: i}, n)
	}
	for i := range m.N {
		unmarked := e.view &^ e.marked
		switch {
		case e.view.has(i) && !s.joined.has(i):
			propose(stepRemove, i, entry{e.seats, e.view &^ of(i), e.marked})
		case s.asking().has(i):
			propose(stepJoin, i, entry{e.seats, e.view | of(i), e.marked})
		case s.told.has(i) && unmarked.has(i) && unmarked != of(i):
			propose(stepMark, i, entry{e.seats, e.view, e.marked | of(i)})
		case e.marked.has(i) && s.told.has(i) && i != s.leader:
			seats := e.seats
			if m.Off == KeepSeat && seats.len() > 1 {
				seats &^= of(i)
			}
			propose(stepLeave, i, entry{seats, e.view &^ of(i), e.marked})
		}
	}
	// Leadership is handed over only when every process that was answered has stopped.
	leaves := e.marked.has(s.leader) || s.waiting().has(s.leader)
	if leaves && m.Off != HandOver && s.up&s.answered == 0 {
		for c := range m.N {
			if (e.view &^ e.marked).has(c) && s.rank[c] == s.counts {
				m.elect(s, c, stepTransfer, take)
			}
		}
	}
}

// answer answers members that have left the view, if their votes are not needed (V7).
func (m *Model) answer(s state, take func(search.Step, state)) {
	e := s.now()
	for i := range m.N {
		if !s.waiting().has(i) || s.now().view.has(i) || i == s.leader || !m.mayGo(&s, i, e) {
			continue
		}
		n := s
		n.answered |= of(i)
		if m.Off != CountGone {
			n.gone |= of(i)
		}
		take(search.Step{Kind: stepAnswer, A: i, Broken: m.unlessKilled(&s, s.loses(i, e))}, n)
	}
}

// needed reports whether no entry can count without i's vote.
func (s *state) needed(i uint8, e entry) bool {
	return e.seats.has(i) && !(s.present(e.seats) &^ of(i)).decides(e.seats)
}

// mayGo reports whether i may stop: its vote is not needed, or nothing can be done about that.
func (m *Model) mayGo(s *state, i uint8, e entry) bool {
	if !s.needed(i, e) || m.Off == VoteUntilAnswered {
		return true
	}
	for other := range m.N {
		if s.waiting().has(other) && !s.needed(other, e) {
			return false // that one is answered first: without i there may be no leader
		}
	}
	if m.Off != SeatTaken && (s.free(e)|s.asking())&^e.seats != 0 {
		return false
	}
	if e.marked|s.told&s.joined != 0 {
		return false // another member is still leaving
	}
	return m.Off == GiveUpFirst || !s.tooMany(e.seats)
}

// tooMany reports whether seats beyond three are absent and the others have a majority.
func (s *state) tooMany(seats set) bool {
	return seats.len() > 3 && s.present(seats) != seats && s.present(seats).decides(seats)
}

// loses returns the property that is violated if i stops now, or "".
func (s *state) loses(i uint8, e entry) string {
	rest := e.seats & s.up &^ of(i) &^ s.answered
	switch {
	case !e.seats.has(i) || rest.decides(e.seats):
	case (s.free(e)|s.asking())&^e.seats != 0:
		return choice
	case e.seats.len() > 3 && (e.seats & s.up &^ s.answered).decides(e.seats) && (e.seats&^s.up).len() >= 2:
		return shrink
	}
	return ""
}

// seats moves seats, and gives up absent ones (V1).
func (m *Model) seats(s state, take func(search.Step, state)) {
	e := s.now()
	propose := func(kind, i uint8, seats set) {
		step := search.Step{Kind: kind, A: i}
		if !(s.up &^ s.answered).decides(seats) && (s.up &^ s.answered).decides(e.seats) {
			step.Broken = m.unlessKilled(&s, margin)
		}
		n := s
		n.append(entry{seats, e.view, e.marked})
		take(step, n)
	}
	absent := e.seats &^ s.present(e.seats)
	odd := e.seats.len()%2 == 1
	for i := range m.N {
		caughtUp := s.free(e).has(i) && s.rank[i] == s.counts
		grow := odd && e.seats.len() < 5 && s.free(e).len() >= 2 && absent == 0
		switch {
		case caughtUp && (!odd || grow):
			propose(stepPromote, i, e.seats|of(i))
		case absent.has(i) && odd && s.free(e) != 0:
			if s.present(e.seats).decides(e.seats &^ of(i)) {
				propose(stepDemote, i, e.seats&^of(i))
			}
		case absent.has(i) && s.free(e) == 0 && m.givesUp(&s, e, absent):
			propose(stepGiveUp, i, e.seats&^of(i))
		}
	}
}

// givesUp reports whether an absent seat may be given up. Absent seats beyond three are given up in
// pairs: after seat_grace, or when a needed voter waits to stop.
func (m *Model) givesUp(s *state, e entry, absent set) bool {
	if e.seats.len() <= 3 || s.waiting() == 0 && !m.Grace {
		return false
	}
	if e.seats.len()%2 == 0 {
		return true // the second of a pair
	}
	return absent.len() >= 2 || m.Off == Pairs
}
