package views

import "slices"

import "math/bits"

const most = 4 // processes

// set is a set of processes.
type set uint8

func of(i uint8) set               { return 1 << i }
func (s set) has(i uint8) bool     { return s>>i&1 != 0 }
func (s set) len() int             { return bits.OnesCount8(uint8(s)) }
func (s set) all(of set) bool      { return of&^s == 0 }
func all(n uint8) set              { return 1<<n - 1 }
func (s set) majority(of set) bool { return 2*(s&of).len() > of.len() }

const none uint8 = 0xff

// Silence of a member, as the leader measures it.
const (
	renews    uint8 = iota
	missedTwo       // 2L/5
	countsNow       // 4L/5: from now on claims count (V5)
	leaseOver       // L stretched
)

// Phases of an activation.
const (
	asking uint8 = iota
	fetching
	syncing
	active
)

// faults are those that may still happen.
type faults struct {
	crashes, cuts, oneWays, heals, deafs, mutes, pauses, lates, leaves, elections, restarts uint8
}

// state is a comparable value without padding; all that does not matter is zero.
type state struct {
	// gaps[r] has, for the views after the one of rank r-1 up to the one of rank r, which
	// sets of living processes were S(p,x): bit m for set m, minimal sets only. The
	// gap above the highest rank ends before the current view.
	gaps [most + 2]uint16

	// The processes: up, answering nobody, calling but not renewing, paused, irregular in their renewals, asked to leave,
	// and those whose copies do not count for DURABILITY any more.
	up, deaf, mute, paused, late, leaving, excused set
	// cut[a] are those whom a cannot call.
	cut [most]set

	leader uint8
	voters set

	// The view: its members, in the order in which they joined, those marked, S(p).
	in, marked set
	order      [most]uint8
	owner      uint8
	replicas   set

	// cur is the owner if it has installed the view; leased is lastOwner if it has a lease.
	cur, leased set

	// The activation in this view: who answered the ask, from whom the owner fetches
	// the copy, which living processes have a copy of this epoch, and whom G1 has told.
	phase                  uint8
	answered, synced, told set
	from                   uint8

	// lastOwner and lastSet were active last, and may still commit: all of the set live and
	// have installed no newer view.
	lastOwner uint8
	lastSet   set
	// Copies: rank of have (0 is the empty copy of epoch 0), those with the last
	// decision, those in quarantine.
	have        [most]uint8
	last, empty set

	// What the leader knows: silence; whom it renews no more; for whose silence
	// leadership was handed over already; complaints; who renewed since the oldest complaint;
	// for each silent member the voters that renewed since 4L/5, and those among them that it
	// and all others call.
	silence       [most]uint8
	stopped       set
	handed        set
	complaints    [most]set
	fresh         set
	heard, claims [most]set

	left faults
}

// hears: a's calls to b are answered. Raft's and the renewals' are answered by deaf
// processes, too, see calls.
func (s *state) reaches(a, b uint8) bool {
	awake := s.up &^ s.paused
	return awake.has(a) && awake.has(b) && (a == b || !s.cut[a].has(b))
}

// calls: a's calls to b are answered.
func (s *state) calls(a, b uint8) bool {
	return s.reaches(a, b) && (a == b || !s.deaf.has(b))
}

// placed are the members on the ring.
func (s *state) placed() set { return s.in &^ s.marked }

// leads: the leader can commit and renew, for it reaches a majority of the voters.
func (s *state) leads() bool { return s.leader != none && s.electable(s.leader) }

// electable: a voter that reaches a majority of the voters.
func (s *state) electable(c uint8) bool {
	if !s.voters.has(c) {
		return false
	}
	var reached set
	for v := range uint8(most) {
		if s.voters.has(v) && s.reaches(c, v) {
			reached |= of(v)
		}
	}
	return reached.majority(s.voters)
}

// hearsMajority: the leader hears renewals or joins of a majority of the voters (V5).
func (s *state) hearsMajority() bool {
	heard := s.callers(s.leader)
	for a := range uint8(most) {
		if s.silence[a] == leaseOver && !s.stopped.has(a) {
			heard &^= of(a)
		}
	}
	return heard.majority(s.voters)
}

// callers are the processes whose own calls reach v.
func (s *state) callers(v uint8) (c set) {
	for m := range uint8(most) {
		if s.calls(m, v) {
			c |= of(m)
		}
	}
	return c
}

// canRenew: the member's renewals are answered.
func (s *state) canRenew(m uint8) bool {
	return s.in.has(m) && !s.stopped.has(m) && !s.mute.has(m) && s.leads() && s.calls(m, s.leader)
}

// top is the highest rank of a copy.
func (s *state) top() (t uint8) {
	for _, h := range s.have {
		t = max(t, h)
	}
	return t
}

// push adds the replica set of the current view, which is to be followed by
// another, to the history.
func (s *state) push() {
	gap := s.top()
	if s.synced == 0 { // no copy has this epoch
		gap++
	}
	s.gaps[gap] = add(s.gaps[gap], s.replicas&s.up)
}

// add adds a set to those of a gap and keeps the minimal ones.
func add(gap uint16, m set) uint16 {
	for o := range set(1 << most) {
		if gap>>o&1 == 0 {
			continue
		}
		if m.all(o) {
			return gap
		}
		if o.all(m) {
			gap &^= 1 << o
		}
	}
	return gap | 1<<m
}

// forget takes a process that is gone out of all sets of the history.
func (s *state) forget(i uint8) {
	for r, gap := range s.gaps {
		s.gaps[r] = 0
		for m := range set(1 << most) {
			if gap>>m&1 != 0 {
				s.gaps[r] = add(s.gaps[r], m&^of(i))
			}
		}
	}
}

// stamp makes m's copy one of the current epoch, which is above all others.
func (s *state) stamp(m uint8) {
	top := s.top()
	if s.synced == 0 {
		top++ // the first copy of this epoch
	}
	s.have[m] = top
	s.synced |= of(m)
	s.compress()
}

// compress closes the ranks that no copy has any more.
func (s *state) compress() {
	for r := uint8(1); r <= s.top(); {
		if s.ranked(r) {
			r++
			continue
		}
		merged := s.gaps[r]
		for m := range set(1 << most) {
			if s.gaps[r+1]>>m&1 != 0 {
				merged = add(merged, m)
			}
		}
		s.gaps[r] = merged
		copy(s.gaps[r+1:], s.gaps[r+2:])
		s.gaps[most+1] = 0
		for m, h := range s.have {
			if h > r {
				s.have[m]--
			}
		}
	}
}

func (s *state) ranked(r uint8) bool {
	for _, h := range s.have {
		if h == r {
			return true
		}
	}
	return false
}

// good: every view since rank r has a witness among those who answered (4.2).
func (s *state) good(r uint8, witnesses set) bool {
	for g := r + 1; int(g) < len(s.gaps); g++ {
		for m := range set(1 << most) {
			if s.gaps[g]>>m&1 != 0 && m&witnesses == 0 {
				return false
			}
		}
	}
	return true
}

// orphaned: a crash took the whole replica set of an epoch above rank r, which therefore has no
// witness. That is accepted, for it exceeds R: with one crash the set was a single member.
func (s *state) orphaned(r uint8) bool {
	return slices.Contains(s.gaps[r+1:], 1)
}

// tidy sets to zero what no step depends on any more.
func (s *state) tidy() {
	if s.owner == none {
		s.cur = 0
	} else {
		s.cur &= of(s.owner) // the others of lastSet have not installed the view, or lastSet is zero
	}
	s.leased &= s.lastSet & of(s.lastOwner)
	if s.leased == 0 && s.phase != active {
		// The lease has ended; a new one comes with the new view.
		s.lastSet, s.lastOwner = 0, 0
	}
	for a := range s.complaints {
		s.complaints[a] &= s.up // who is down will not renew any more
	}
	if !s.complained() {
		s.fresh = 0
	}
	for a := range s.silence {
		if s.silence[a] < countsNow || s.handed.has(uint8(a)) || s.stopped.has(uint8(a)) {
			s.heard[a], s.claims[a] = 0, 0
		}
	}
}

// canCommit: the owner that was active last can get a decision through, or could if
// every cut healed.
func (s *state) canCommit() bool {
	return s.lastSet != 0 && s.leased.has(s.lastOwner)
}
