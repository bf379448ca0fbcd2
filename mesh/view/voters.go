package view

import "fmt"

// MaxVoters is the maximum number of voters of a cluster (V1).
const MaxVoters = 5

// keptSeats is how many seats are never given up because their holders are absent (V1).
const keptSeats = 3

// Seat is one server of Raft's configuration, by the stable id of the process.
type Seat struct {
	ID    string
	Voter bool
}

// changeKind is the kind of a change of Raft's configuration; one change is made at a time.
type changeKind int

const (
	changeNone changeKind = iota
	// changeStage adds a live member as a non-voter, so that it catches up.
	changeStage
	// changePromote makes a non-voter that has caught up a voter.
	changePromote
	// changeDemote makes a voter a non-voter.
	changeDemote
	// changeRemove removes a server that is not a member from the configuration.
	changeRemove
	// changeTransfer hands leadership to the voter that it names, or to any other.
	changeTransfer
)

// Change is one change of Raft's configuration.
type Change struct {
	kind changeKind
	id   string
}

// String is for logs.
func (c Change) String() string {
	name := [...]string{"none", "stage", "promote", "demote", "remove", "transfer"}[c.kind]
	return fmt.Sprintf("%s %s", name, c.id)
}

// electorate is what a leader knows when it decides about seats: which change of Raft's
// configuration is next (V1), and who may stop (V7). It is a value: deciding changes
// nothing.
type electorate struct {
	// self is the leader's id.
	self  string
	seats []Seat
	// stay are the ids of the unmarked members of the view, in the order in which they
	// joined; leaving are those of the marked ones.
	stay, leaving []string
	// stopping are the processes that were told to stop and have not been let go.
	stopping map[string]bool
	// waiting are those of them that have left the view and ask to be let go, in the
	// order in which they asked first.
	waiting []string
	// forGood are the stopping processes that give up their seats.
	forGood map[string]bool
	// live are the processes that recently asked for a renewal or to join, and were not let go.
	live map[string]bool
	// confirmed are the other voters that have just confirmed this leadership, see Leader.ask; nil
	// before they were asked.
	confirmed map[string]bool
	// mute are the live processes that cannot write their votes to disk: they count as absent, and
	// get no seat.
	mute map[string]bool
	// ready are the non-voters that have caught up.
	ready map[string]bool
	// overdue are the voters that have been absent for the seat grace.
	overdue map[string]bool
	// given are the absent voters whose seats an operator has given up.
	given map[string]bool
	// joiners: a process that is not in the view asks to join.
	joiners bool
	// closing: all members were told to stop, so no seat changes any more.
	closing bool
}

// next returns the one change of Raft's configuration to make now (V1). No change is made
// that the voters after it could not commit.
func (e electorate) next() Change {
	voters, others := e.split()
	_, absent := e.divide(voters)
	ready, staged, unstaged := e.candidates(set(voters), set(others))
	n, target := len(voters), odd(min(len(e.stay), MaxVoters))

	// The only seat can move only while its holder votes, and one of two seats only while both
	// holders vote.
	lone := n == 1 && e.stopping[voters[0]]
	want := len(absent)
	switch {
	case n%2 == 0 || lone:
		want++
	case target > n:
		want += target - n
	}
	if len(ready)+len(staged) < want && len(unstaged) > 0 {
		return Change{changeStage, unstaged[0]}
	}
	if len(ready) > 0 {
		// If the number of seats is even, a seat waits for its next holder.
		grow := target > n && len(absent) == 0 && len(ready) > 1
		if (n%2 == 0 && n < MaxVoters || lone || grow) && e.commits(voters, "", ready[0]) {
			return Change{changePromote, ready[0]}
		}
		// To move a seat, first the old holder is demoted, then the new one is promoted.
		if n%2 == 1 && len(absent) > 0 && e.commits(voters, absent[0], "") {
			return Change{changeDemote, absent[0]}
		}
	}
	if c := e.giveUp(voters, absent); c.kind != changeNone {
		return c
	}
	if n == 2 && want > 0 && len(ready)+len(staged) == 0 {
		if c := e.leaveOne(voters); c.kind != changeNone {
			return c
		}
	}
	stay, leaving := set(e.stay), set(e.leaving)
	for _, id := range others {
		if !stay[id] && !leaving[id] && !e.live[id] {
			return Change{changeRemove, id}
		}
	}
	return Change{}
}

// giveUp returns the demotion of a voter whose seat no other member takes: because an operator gave
// it up, because its holder leaves for good, or because it is beyond three and absent seats have
// been absent for the seat grace or keep another process from being let go (V1, V7).
func (e electorate) giveUp(voters, absent []string) Change {
	for _, id := range absent {
		if e.given[id] && e.commits(voters, id, "") {
			return Change{changeDemote, id}
		}
	}
	seated := set(voters)
	for _, id := range e.waiting {
		if e.forGood[id] && seated[id] && id != e.self && len(voters) > 1 && e.commits(voters, id, "") {
			return Change{changeDemote, id}
		}
	}
	if e.surplus(voters, absent) == 0 {
		return Change{}
	}
	overdue := 0
	for _, id := range absent {
		if e.overdue[id] {
			overdue++
		}
	}
	if overdue < len(absent) && !e.shrinks(voters) {
		return Change{}
	}
	for _, id := range absent {
		if e.commits(voters, id, "") {
			return Change{changeDemote, id}
		}
	}
	return Change{}
}

// surplus returns how many of the absent voters' seats may be given up: two of five, or one of four
// when the other of such a pair was given up before. All other voters must answer (V1).
func (e electorate) surplus(voters, absent []string) int {
	n := len(voters) - keptSeats
	if n <= 0 || len(absent) != n || len(e.voting(voters)) != keptSeats {
		return 0
	}
	return n
}

// shrinks reports whether a process that waits to be let go is a voter that the others need, and no
// member could take a seat instead.
func (e electorate) shrinks(voters []string) bool {
	for _, id := range e.waiting {
		if needed, wait := e.needs(id, voters); needed && wait == "" {
			return true
		}
	}
	return false
}

// leaveOne returns the change by which, of two voters, the one that stops gives up its seat and
// leaves the other as the only voter: two seats survive no loss anyway, and the number of seats has
// to be odd (V1).
func (e electorate) leaveOne(voters []string) Change {
	stay := set(e.stay)
	for i, id := range voters {
		other := voters[1-i]
		switch {
		case !e.stopping[id] || !stay[other] || e.stopping[other] || !e.votes(other):
		case id == e.self:
			return Change{changeTransfer, other}
		case e.commits(voters, id, ""):
			return Change{changeDemote, id}
		}
	}
	return Change{}
}

// release reports whether a process that has left the view may stop now (V7). If it may but too few
// voters are left, warn says so. If it may not, wait says what it waits for.
func (e electorate) release(id string) (ok bool, warn, wait string) {
	voters, _ := e.split()
	if !set(voters)[id] {
		return true, "", ""
	}
	if e.forGood[id] && len(voters) > 1 && e.commits(voters, id, "") {
		return false, "", "its seat is given up first"
	}
	needed, wait := e.needs(id, voters)
	if !needed {
		return true, "", ""
	}
	if wait != "" {
		return false, "", wait
	}
	for _, other := range voters {
		if e.present(other) && !e.votes(other) {
			// It may have died. If it has not, what has to happen first may become possible.
			return false, "", other + " does not answer now"
		}
	}
	_, absent := e.divide(voters)
	if e.surplus(voters, without(absent, id)) > 0 {
		return false, "", "absent seats are given up first"
	}
	return true, fmt.Sprintf("%d of %d seats answers after this", len(without(e.voting(voters), id)), len(voters)), ""
}

// needs reports whether the voters that answer are no majority without this one. If so, wait is
// what has to happen first or may still change that, or "" (V7): another process waits whose vote
// is not needed, a member without a seat could take one, a process may become such a member, or a
// member is still leaving.
func (e electorate) needs(id string, voters []string) (needed bool, wait string) {
	if len(without(e.voting(voters), id)) >= len(voters)/2+1 {
		return false, ""
	}
	seated := set(voters)
	for _, other := range e.waiting {
		// Without a majority, the other process could not be let go any more.
		if other != id && other != e.self && !seated[other] {
			return true, other + " is let go first"
		}
	}
	for _, other := range e.stay {
		if !seated[other] && e.live[other] && !e.stopping[other] && !e.mute[other] {
			return true, "member " + other + " is to take a seat first"
		}
	}
	if e.joiners {
		return true, "a process asks to join and may take a seat"
	}
	for _, other := range append(e.leaving, e.stay...) {
		if other != id && e.stopping[other] && e.live[other] {
			return true, "member " + other + " is leaving first"
		}
	}
	if len(voters) == 2 {
		// Its seat goes to the other one, see leaveOne.
		for _, other := range without(voters, id) {
			if e.votes(other) && set(e.stay)[other] && !e.stopping[other] {
				return true, "its seat goes first"
			}
		}
	}
	return true, ""
}

// heir returns the voter to which a leader that was told to stop hands leadership: an unmarked one
// that answers, preferably one that was not told to stop; "" if there is none (V7).
func (e electorate) heir() string {
	voters, _ := e.split()
	seated, heir := set(voters), ""
	for _, id := range e.stay {
		switch {
		case id == e.self || !seated[id] || !e.votes(id):
		case !e.stopping[id]:
			return id
		case heir == "":
			heir = id
		}
	}
	return heir
}

// marked reports whether a process stops and is off the ring: it is not a member, or it is marked.
func (e electorate) marked(id string) bool {
	return e.stopping[id] && !set(e.stay)[id]
}

// present reports whether a voter keeps its seat: it was heard from recently, or it votes although
// it does not reach this leader.
func (e electorate) present(id string) bool {
	return (id == e.self || e.live[id] || e.confirmed[id]) && !e.mute[id]
}

// votes reports whether a voter's vote can be counted on: it was heard from recently, and has not
// died since. A voter that votes but does not reach this leader is not counted on. With it, seats
// could move while it is silent, and the leader would then hear a majority that knows nothing of it
// and remove it (V5), although it may hold the last copy.
func (e electorate) votes(id string) bool {
	return e.present(id) && (id == e.self || e.live[id] && (e.confirmed == nil || e.confirmed[id]))
}

// voting returns the voters whose votes can be counted on now.
func (e electorate) voting(voters []string) (list []string) {
	for _, id := range voters {
		if e.votes(id) {
			list = append(list, id)
		}
	}
	return list
}

// depends reports whether what the leader does next, this change or letting a process go, may
// depend on who votes now.
func (e electorate) depends(c Change) bool {
	switch c.kind {
	case changePromote, changeDemote, changeTransfer:
		return true
	default:
	}
	voters, _ := e.split()
	_, absent := e.divide(voters)
	pair := len(voters) > keptSeats && len(absent) >= len(voters)-keptSeats && contains(e.overdue)
	reason := contains(e.ready) || contains(e.given) || pair
	return len(absent) > 0 && reason || len(e.waiting) > 0 || e.mute[e.self] || e.marked(e.self)
}

// divide splits voters into those that keep their seats and those that are absent.
func (e electorate) divide(voters []string) (present, absent []string) {
	for _, id := range voters {
		if e.present(id) {
			present = append(present, id)
		} else {
			absent = append(absent, id)
		}
	}
	return present, absent
}

func (e electorate) split() (voters, others []string) {
	for _, s := range e.seats {
		if s.Voter {
			voters = append(voters, s.ID)
		} else {
			others = append(others, s.ID)
		}
	}
	return voters, others
}

// candidates returns the members that stay, answer and do not vote: non-voters that have caught up
// (ready), other non-voters (staged), and members that Raft's configuration does not contain
// (unstaged).
func (e electorate) candidates(voters, others map[string]bool) (ready, staged, unstaged []string) {
	for _, id := range e.stay {
		switch {
		case voters[id] || !e.live[id] || e.stopping[id] || e.mute[id]:
		case !others[id]:
			unstaged = append(unstaged, id)
		case e.ready[id]:
			ready = append(ready, id)
		default:
			staged = append(staged, id)
		}
	}
	return ready, staged, unstaged
}

// commits reports whether a majority of the voters votes if one voter is removed and another
// added. Otherwise the change itself could not be committed (MARGIN in internal/model/seats), and
// no leader could be elected before one of the remaining voters returns.
func (e electorate) commits(voters []string, without, with string) bool {
	total, live := 0, 0
	for _, id := range voters {
		if id == without {
			continue
		}
		total++
		if e.votes(id) {
			live++
		}
	}
	if with != "" {
		total++
		live++
	}
	return total > 0 && live >= total/2+1
}

func odd(n int) int {
	if n%2 == 0 {
		n--
	}
	return max(n, 1)
}

func set(ids []string) map[string]bool {
	m := make(map[string]bool, len(ids))
	for _, id := range ids {
		m[id] = true
	}
	return m
}

// contains reports whether a set has an element.
func contains(set map[string]bool) bool {
	for _, in := range set {
		if in {
			return true
		}
	}
	return false
}

func without(ids []string, id string) []string {
	var rest []string
	for _, other := range ids {
		if other != id {
			rest = append(rest, other)
		}
	}
	return rest
}
