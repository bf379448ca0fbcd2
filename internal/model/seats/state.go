package seats

import "math/bits"

const most = 6 // processes

// set is a set of processes.
type set uint8

func of(i uint8) set           { return 1 << i }
func (s set) has(i uint8) bool { return s>>i&1 != 0 }
func (s set) len() int         { return bits.OnesCount8(uint8(s)) }

// decides reports whether s has a majority of the seats.
func (s set) decides(seats set) bool { return 2*(s&seats).len() > seats.len() }

const none uint8 = 0xff

// entry is what a log entry, and all before it, leave: who has a seat, who is in the
// view, and who of these is marked leaving.
type entry struct{ seats, view, marked set }

// state is a comparable value; all that does not matter is zero.
type state struct {
	// up processes; those told to stop; those that are the members of the view with
	// their id (a process that starts again is not); those whom the leader has answered, who
	// stop next; those whose directory is lost.
	up, told, joined, answered, lost set
	// fresh have started and were not admitted since, which they know.
	fresh  set
	leader uint8
	// gone are those the leader has answered.
	gone set
	// closing: it has told all to stop, and stops when they have.
	closing bool
	// The last entry of each process's log by rank, 0 for an empty log; the entries; and the last
	// one that counts.
	rank    [most]uint8
	entries [most + 2]entry
	counts  uint8

	stops, kills, losses, starts uint8
}

// now is the entry that counts.
func (s *state) now() entry { return s.entries[s.counts] }

// newest is the last entry of the leader's log.
func (s *state) newest() entry { return s.entries[s.rank[s.leader]] }

// settled: nothing is under way.
func (s *state) settled() bool { return s.leader != none && s.rank[s.leader] == s.counts }

// leads: there is a leader that reaches a majority of the seats.
func (s *state) leads() bool { return s.leader != none && s.up.decides(s.newest().seats) }

// append adds an entry to the leader's log.
func (s *state) append(e entry) {
	top := s.counts
	for _, r := range s.rank {
		top = max(top, r)
	}
	s.entries[top+1] = e
	s.rank[s.leader] = top + 1
	s.compress()
}

// compress closes the ranks of entries that are nobody's last.
func (s *state) compress() {
	for r := uint8(1); int(r) < len(s.entries); {
		if s.used(r) || !s.above(r) {
			if !s.used(r) {
				s.entries[r] = entry{}
			}
			r++
			continue
		}
		copy(s.entries[r:], s.entries[r+1:])
		s.entries[len(s.entries)-1] = entry{}
		for i := range s.rank {
			if s.rank[i] > r {
				s.rank[i]--
			}
		}
		if s.counts > r {
			s.counts--
		}
	}
}

func (s *state) used(r uint8) bool {
	for _, have := range s.rank {
		if have == r {
			return true
		}
	}
	return s.counts == r
}

func (s *state) above(r uint8) bool {
	for _, have := range s.rank {
		if have > r {
			return true
		}
	}
	return s.counts > r
}

// end ends a process.
func (s *state) end(i uint8) {
	for _, set := range []*set{&s.up, &s.told, &s.joined, &s.answered, &s.fresh} {
		*set &^= of(i)
	}
	if s.leader == i {
		s.leader, s.gone, s.closing = none, 0, false
	}
}

// present are the holders of seats that are up, as far as the leader knows.
func (s *state) present(seats set) set { return seats & s.up &^ s.gone }

// free are live unmarked members without a seat.
func (s *state) free(e entry) set { return s.up & s.joined & e.view &^ e.marked &^ e.seats &^ s.told }

// waiting have left the view in good order and wait for the leader's answer.
func (s *state) waiting() set { return s.up & s.told &^ s.joined &^ s.answered }

// asking are processes that ask to join.
func (s *state) asking() set { return s.up &^ s.joined &^ s.told }
