package view

import "fmt"

// MaxVoters is the most voters a cluster has (V1).
const MaxVoters = 5

// Seat is one server of Raft's configuration, by the stable id of the process.
type Seat struct {
	ID    string
	Voter bool
}

// changeKind is a step of Raft's configuration; one is made at a time.
type changeKind int

const (
	changeNone changeKind = iota
	// changeStage adds a live member as a non-voter, so that it catches up.
	changeStage
	// changePromote makes a non-voter that has caught up a voter.
	changePromote
	// changeDemote makes a voter a non-voter; it keeps receiving the log.
	changeDemote
	// changeRemove takes a server that is no member out of the configuration.
	changeRemove
	// changeTransfer hands leadership over, because the leader's own seat goes.
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

// electorate is what the choice of voters looks at.
type electorate struct {
	// self is the leader's id.
	self  string
	seats []Seat
	// stay are the ids of the members that are in the view and not leaving, in
	// the order in which they joined; leaving those that leave.
	stay, leaving []string
	// live are the ids that asked for a renewal or to join of late.
	live map[string]bool
	// ready are the non-voters that have caught up.
	ready map[string]bool
}

// next is V1: the one change of Raft's configuration to make now. Voters are as
// many as there are members to stay, odd, and at most five. The seat of a dead
// voter goes only when a live member is ready to take one; that of a member that
// leaves in good order goes while it still votes for that. Who was evicted but lives
// (V6) is not dead and keeps its seat: it votes, and will be back, while another voter
// that counts as live a moment longer may be dead. No change is made that the voters
// after it could not commit.
func (e electorate) next() Change {
	voters, others := e.split()
	stay, leaving := set(e.stay), set(e.leaving)
	var serving, going, away, dead []string
	for _, id := range voters {
		switch {
		case stay[id]:
			serving = append(serving, id)
		case leaving[id]:
			going = append(going, id)
		case e.live[id]:
			away = append(away, id)
		default:
			dead = append(dead, id)
		}
	}
	target := odd(min(len(e.stay), MaxVoters))
	ready, unstaged := e.candidates(set(voters), set(others))

	missing := target - len(serving) - len(away)
	if missing > 0 && len(ready) < missing && len(unstaged) > 0 {
		return Change{changeStage, unstaged[0]}
	}
	if missing > 0 && len(ready) >= missing {
		// First the old seat goes, then the new one comes; but the last voter
		// cannot go before there is another.
		if gone := append(going, dead...); len(gone) > 0 && len(voters) > 1 && gone[0] != e.self && e.commits(voters, gone[0], "") {
			return Change{changeDemote, gone[0]}
		}
		if e.commits(voters, "", ready[0]) {
			return Change{changePromote, ready[0]}
		}
	}
	if len(going) > 0 && len(voters) > 1 {
		id := going[0]
		if len(going) > 1 && id == e.self {
			id = going[1]
		}
		if e.commits(voters, id, "") {
			return e.unseat(id)
		}
	}
	if len(dead) == 0 && len(going) == 0 && len(away) == 0 && len(serving) > 1 && (len(serving) > target || len(serving)%2 == 0) && missing <= 0 {
		for i := len(serving) - 1; i >= 0; i-- {
			if serving[i] != e.self && e.commits(voters, serving[i], "") {
				return Change{changeDemote, serving[i]}
			}
		}
	}
	for _, id := range others {
		if !stay[id] && !leaving[id] && !e.live[id] {
			return Change{changeRemove, id}
		}
	}
	return Change{}
}

// unseat takes a voter's seat; the leader's own goes by way of a new leader.
func (e electorate) unseat(id string) Change {
	if id == e.self {
		return Change{changeTransfer, id}
	}
	return Change{changeDemote, id}
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

// candidates are the staying members without a vote: those that are ready, and
// those that are live but not even staged.
func (e electorate) candidates(voters, others map[string]bool) (ready, unstaged []string) {
	for _, id := range e.stay {
		switch {
		case voters[id] || !e.live[id]:
		case !others[id]:
			unstaged = append(unstaged, id)
		case e.ready[id]:
			ready = append(ready, id)
		}
	}
	return ready, unstaged
}

// commits says whether, without one voter and with another, a majority of the
// voters would be live: otherwise the change itself could not be committed.
func (e electorate) commits(voters []string, without, with string) bool {
	total, live := 0, 0
	for _, id := range voters {
		if id == without {
			continue
		}
		total++
		if e.live[id] || id == e.self {
			live++
		}
	}
	if with != "" {
		total++
		live++
	}
	return live >= total/2+1
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
