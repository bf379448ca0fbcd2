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

// faults holds how many faults of each kind may still happen.
type faults struct {
	crashes, cuts, oneWays, heals, deafs, mutes, pauses, lates, leaves, elections, restarts uint8
}

// state is a comparable value without padding. Everything that does not matter is zero.
type state struct {
	// gaps[r] holds, for the views after the one of rank r-1 up to the one of rank r, which sets
	// of living processes were S(p,x): bit m stands for set m; minimal sets only. The gap above
	// the highest rank ends before the current view.
	gaps [most + 2]uint16

	// The processes that are up, that answer nobody, that call but do not renew, that are paused, that
	// renew irregularly, that were asked to leave, and whose copies no longer count for DURABILITY.
	up, deaf, mute, paused, late, leaving, excused set
	// cut[a] holds the processes that a cannot call.
	cut [most]set

	leader uint8
	voters set

	// The view: its members, the marked ones, the order in which they joined, the owner, and S(p).
	in, marked set
	order      [most]uint8
	owner      uint8
	replicas   set

	// cur holds the owner if it has installed the view. leased holds lastOwner if it has a lease.
	cur, leased set

	// The activation in this view: who answered the ask, which living processes have a copy of
	// this epoch, whom G1 has told, and from whom the owner fetches the copy.
	phase                  uint8
	answered, synced, told set
	from                   uint8

	// lastOwner and lastSet are the owner and replica set that were last active, if they may still
	// commit: all of the set live, and none has installed a newer view.
	lastOwner uint8
	lastSet   set
	// The copies: the rank of have (0 is the empty copy of epoch 0), those with the last decision,
	// those in quarantine.
	have        [most]uint8
	last, empty set

	// What the leader knows: how long each member has been silent; whom it no longer renews; for
	// whose silence leadership was handed over already; the complaints; who has renewed since the
	// oldest complaint; and for each silent member the voters that have renewed since 4L/5, and
	// those among them that it and all others call.
	silence       [most]uint8
	stopped       set
	handed        set
	complaints    [most]set
	fresh         set
	heard, claims [most]set

	left faults
}

// reaches reports whether b answers a's calls of Raft or renewals. Deaf processes answer these,
// too; see calls.
func (s *state) reaches(a, b uint8) bool {
	awake := s.up &^ s.paused
	return awake.has(a) && awake.has(b) && (a == b || !s.cut[a].has(b))
}

// calls reports whether b answers a's calls.
func (s *state) calls(a, b uint8) bool {
	return s.reaches(a, b) && (a == b || !s.deaf.has(b))
}

// placed returns the members on the ring.
func (s *state) placed() set { return s.in &^ s.marked }

// leads reports whether the leader can commit and renew: it reaches a majority of the voters.
func (s *state) leads() bool { return s.leader != none && s.electable(s.leader) }

// electable reports whether c is a voter that reaches a majority of the voters.
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

// hearsMajority reports whether the leader hears renewals or joins of a majority of the voters (V5).
func (s *state) hearsMajority() bool {
	heard := s.callers(s.leader)
	for a := range uint8(most) {
		if s.silence[a] == leaseOver && !s.stopped.has(a) {
			heard &^= of(a)
		}
	}
	return heard.majority(s.voters)
}

// callers returns the processes whose own calls reach v.
func (s *state) callers(v uint8) (c set) {
	for m := range uint8(most) {
		if s.calls(m, v) {
			c |= of(m)
		}
	}
	return c
}

// canRenew reports whether the member's renewals are answered.
func (s *state) canRenew(m uint8) bool {
	return s.in.has(m) && !s.stopped.has(m) && !s.mute.has(m) && s.leads() && s.calls(m, s.leader)
}

// top returns the highest rank of a copy.
func (s *state) top() (t uint8) {
	for _, h := range s.have {
		t = max(t, h)
	}
	return t
}

// push adds the replica set of the current view to the history, before the next view.
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

// forget removes a process that is gone from all sets of the history.
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

// stamp makes m's copy one of the current epoch, whose rank is above all others.
func (s *state) stamp(m uint8) {
	top := s.top()
	if s.synced == 0 {
		top++ // the first copy of this epoch
	}
	s.have[m] = top
	s.synced |= of(m)
	s.compress()
}

// compress removes the ranks that no copy has any more.
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

// good reports whether every view since rank r has a witness among those that answered (4.2).
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

// orphaned reports whether a crash removed the whole replica set of an epoch above rank r, which
// therefore has no witness. That is accepted, because it exceeds R: with one crash the set was a
// single member.
func (s *state) orphaned(r uint8) bool {
	return slices.Contains(s.gaps[r+1:], 1)
}

// tidy clears what no step depends on any more.
func (s *state) tidy() {
	if s.owner == none {
		s.cur = 0
	} else {
		s.cur &= of(s.owner) // the other processes of lastSet have not installed the view, or lastSet is zero
	}
	s.leased &= s.lastSet & of(s.lastOwner)
	if s.leased == 0 && s.phase != active {
		// The lease has ended. The next one comes with the new view.
		s.lastSet, s.lastOwner = 0, 0
	}
	for a := range s.complaints {
		s.complaints[a] &= s.up // a process that is down does not renew any more
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

// canCommit reports whether the owner that was last active can commit a decision, or could if
// every cut healed.
func (s *state) canCommit() bool {
	return s.lastSet != 0 && s.leased.has(s.lastOwner)
}
