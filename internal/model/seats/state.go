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

// entry is the result of a log and its last entry: who has a seat, who is in the view, and who
// of these is marked leaving.
type entry struct{ seats, view, marked set }

// state is a comparable value. Everything that does not matter is zero.
type state struct {
	// The processes that are up; those told to stop; those that are members of the view with their
	// current id (a restarted process is not); those that the leader has answered and that stop
	// next; those whose directory is lost.
	up, told, joined, answered, lost set
	// fresh holds processes that have started, were not admitted since, and know it.
	fresh  set
	leader uint8
	// gone holds the processes that the leader has answered.
	gone set
	// closing: the leader has told all to stop, and stops when they have.
	closing bool
	// rank is the position of the last entry of each process's log, 0 for an empty log. entries
	// holds the entries by rank, and counts is the rank of the last one that counts.
	rank    [most]uint8
	entries [most + 2]entry
	counts  uint8

	stops, kills, losses, starts uint8
}

// now returns the entry that counts.
func (s *state) now() entry { return s.entries[s.counts] }

// newest returns the last entry of the leader's log.
func (s *state) newest() entry { return s.entries[s.rank[s.leader]] }

// settled reports whether no entry is in flight.
func (s *state) settled() bool { return s.leader != none && s.rank[s.leader] == s.counts }

// leads reports whether there is a leader that reaches a majority of the seats.
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

// compress removes the ranks of entries that are no process's last.
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

// present returns the holders of seats that are up, as far as the leader knows.
func (s *state) present(seats set) set { return seats & s.up &^ s.gone }

// free returns the live unmarked members without a seat.
func (s *state) free(e entry) set { return s.up & s.joined & e.view &^ e.marked &^ e.seats &^ s.told }

// waiting returns those that have left the view in good order and wait for the leader's answer.
func (s *state) waiting() set { return s.up & s.told &^ s.joined &^ s.answered }

// asking returns the processes that ask to join.
func (s *state) asking() set { return s.up &^ s.joined &^ s.told }
