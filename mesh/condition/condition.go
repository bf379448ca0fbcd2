package condition

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The codes of states.
const (
	// NoQuorum: too few voters answer.
	NoQuorum = "no-quorum"
	// VoterSilent: a voter does not answer, but enough others do.
	VoterSilent = "voter-silent"
	// CutOff: this node is a member and has no lease although enough voters answer.
	CutOff = "cut-off"
	// NotInMesh: this node is in no view.
	NotInMesh = "not-in-mesh"
	// SeedSilent: a seed does not answer a node that is in no mesh.
	SeedSilent = "seed-silent"
	// Quarantine: partitions of this node have lost their state.
	Quarantine = "quarantine"
	// CopiesMissing: this node lacks copies that it should have, or cannot serve partitions that it
	// owns because backups lack theirs.
	CopiesMissing = "copies-missing"
	// SeatWaits: the seat of an absent voter waits for a member that could take it.
	SeatWaits = "seat-waits"
	// DiskFailed: the data directory cannot be written.
	DiskFailed = "disk-failed"
)

// Codes returns all codes.
func Codes() []string {
	return []string{NoQuorum, VoterSilent, CutOff, NotInMesh, SeedSilent, Quarantine, CopiesMissing, SeatWaits, DiskFailed}
}

const (
	// patience is how long a node may look for its mesh before that is reported.
	patience = 5 * time.Second
	// movingTime is how long copies may be in transfer before that is reported.
	movingTime = 30 * time.Second
	// often and rarely are the possible maximum times between two reminders.
	often, rarely = time.Minute, 10 * time.Minute
)

// Facts are what a node knows of itself and of the mesh.
type Facts struct {
	// Lease is the length of a view lease.
	Lease time.Duration
	// InView and Leased: this node is a member of the view that it knows, and may act in it.
	InView, Leased bool
	// Joining is why this node is in no view, as far as it knows; it may be empty.
	Joining string
	// Voters are all voters, this node among them; none if they are not known.
	Voters []Voter
	// Seeds are the seeds that do not answer, while this node is in no view.
	Seeds []Seed
	// Owned counts the partitions that this node owns, Quarantined those of them in quarantine.
	// QuarantineLeft is the time until the last of these quarantines ends.
	Owned, Quarantined int
	QuarantineLeft     time.Duration
	// Moving counts the copies that this node should have and lacks, and the partitions that it
	// owns and may not serve yet.
	Moving int
	// Spare is the name of a member without a seat that could take one, or empty.
	Spare string
	// DiskError is why the data directory cannot be written, or empty.
	DiskError string
}

// Voter is a voter as this node sees it.
type Voter struct {
	Name, ID string
	// Addr is the address of its peer port, if it is known.
	Addr string
	// Answers: it has answered recently. InView: it is a member.
	Answers, InView bool
}

// String names the voter for people.
func (v Voter) String() string {
	name := v.Name
	if name == "" {
		name = "with the id " + v.ID
	}
	if v.Addr != "" {
		return name + " at " + v.Addr
	}
	return name
}

// Seed is a seed that does not answer.
type Seed struct{ Addr, Why string }

// State is one thing that an operator should know. Code and Subject identify it.
type State struct {
	Code, Subject string
	// Severe: calls fail because of it. Alarm: calls do not fail, but it is logged as an error.
	Severe, Alarm bool
	// What says what is wrong, Detail what that means and what to do. Over is the log line at its
	// end.
	What, Detail, Over string
	// covered: another state includes it, so that it is neither logged nor listed.
	covered bool
	// after is how long it has to last before it counts. every is the maximum time between two
	// reminders in the log.
	after, every time.Duration
}

// Sentence returns the whole sentence for a state that has lasted for the given time.
func (s State) Sentence(lasting time.Duration) string {
	if lasting < time.Second {
		return s.What + ": " + s.Detail
	}
	return fmt.Sprintf("%s for %v: %s", s.What, lasting.Truncate(time.Second), s.Detail)
}

// Of returns the states that follow from facts, the worst first.
func Of(f Facts) []State {
	var list []State
	silent := silentVoters(f.Voters)
	answering, needed := len(f.Voters)-len(silent), len(f.Voters)/2+1
	quorum := len(f.Voters) == 0 || answering >= needed
	switch {
	case !quorum:
		list = append(list, noQuorum(f, silent, needed))
	case f.InView && !f.Leased:
		list = append(list, cutOff(f, answering))
	}
	if !f.InView && quorum {
		list = append(list, notInMesh(f))
	}
	for _, seed := range f.Seeds {
		list = append(list, seedSilent(seed))
	}
	for _, v := range silent {
		s := voterSilent(f, v, answering, needed)
		s.covered = !quorum
		list = append(list, s)
	}
	if quorum {
		list = append(list, seatWaits(f, silent)...)
	}
	list = append(list, partitions(f)...)
	if f.DiskError != "" {
		list = append(list, State{
			Code: DiskFailed, Alarm: true, What: "the data directory could not be written", every: rarely,
			Detail: f.DiskError + "; this node does not vote until it can: is the disk full?",
			Over:   "the data directory can be written again",
		})
	}
	return list
}

func silentVoters(voters []Voter) (silent []Voter) {
	for _, v := range voters {
		if !v.Answers {
			silent = append(silent, v)
		}
	}
	return silent
}

func noQuorum(f Facts, silent []Voter, needed int) State {
	return State{
		Code: NoQuorum, Severe: true, What: "no majority", after: f.Lease / 2, every: often,
		Detail: fmt.Sprintf("%d of %d voters %s not answer (%s), and the mesh needs %d; until then this node grants and renews no lock; "+
			"start their nodes, and if their data directories are lost for good, see sharelock serve --recover and docs/recovery.md",
			len(silent), len(f.Voters), verb(len(silent), "does", "do"), join(silent), needed),
		Over: "a majority of the voters answers again",
	}
}

func cutOff(f Facts, answering int) State {
	return State{
		Code: CutOff, Severe: true, What: "this node has had no lease", after: 2 * f.Lease, every: often,
		Detail: fmt.Sprintf("%d of %d voters answer it, but no leader renews its lease, so it grants and renews no lock; "+
			"an election takes a few seconds, otherwise look at the log of the leader", answering, len(f.Voters)),
		Over: "this node has a lease again",
	}
}

// unknown is what a process says that knows no other process.
const unknown = "no member of the mesh is known yet"

func notInMesh(f Facts) State {
	why := f.Joining
	if len(f.Seeds) > 0 {
		addrs := make([]string, len(f.Seeds))
		for i, s := range f.Seeds {
			addrs[i] = s.Addr
		}
		waits := "waits for seed " + strings.Join(addrs, ", ")
		if why == "" || why == unknown {
			why = waits
		} else if !strings.Contains(why, "waits for") {
			why = waits + "; " + why
		}
	}
	if why == "" {
		why = unknown
	}
	every := rarely
	if len(f.Seeds) > 0 {
		every = often
	}
	return State{
		Code: NotInMesh, Severe: true, What: "this node has been in no mesh", Detail: why, after: patience, every: every,
		Over: "this node is a member of the mesh",
	}
}

func seedSilent(s Seed) State {
	return State{
		Code: SeedSilent, Subject: s.Addr, What: "seed " + s.Addr + " has not answered", Detail: s.Why, after: patience, every: often,
		Over: "seed " + s.Addr + " is no longer waited for",
	}
}

func voterSilent(f Facts, v Voter, answering, needed int) State {
	loss := "one more loss stops the mesh"
	if more := answering - needed; more > 0 {
		loss = fmt.Sprintf("%d more may fail", more)
	}
	return State{
		Code: VoterSilent, Subject: v.ID, What: "voter " + v.String() + " has not answered", after: f.Lease / 2, every: rarely,
		Detail: fmt.Sprintf("%d of %d voters answer, %s; start its node, or give up its seat with 'sharelock decommission %s'",
			answering, len(f.Voters), loss, nameOr(v)),
		Over: "voter " + v.String() + " answers again, or its seat is taken",
	}
}

// seatWaits is the state of a mesh in which a member could take the seat of an absent voter.
func seatWaits(f Facts, silent []Voter) []State {
	for _, v := range silent {
		if f.Spare == "" || v.InView {
			continue
		}
		return []State{{
			Code: SeatWaits, What: "a seat has been waiting", after: movingTime, every: rarely,
			Detail: fmt.Sprintf("member %s takes the seat of %s when it has caught up; stop no other node before that", f.Spare, v),
			Over:   "the seat is taken",
		}}
	}
	return nil
}

// partitions are the states of this node's own partitions.
func partitions(f Facts) (list []State) {
	if f.Quarantined > 0 {
		list = append(list, State{
			Code: Quarantine, Severe: f.Quarantined == f.Owned, What: "quarantine", every: often,
			Detail: fmt.Sprintf("all copies of %d of the %d partitions of this node were lost; their keys are granted in %v, when every lock "+
				"that may have existed has expired; there is nothing to do but wait",
				f.Quarantined, f.Owned, f.QuarantineLeft.Truncate(time.Second)),
			Over: "the quarantine is over: all keys can be locked",
		})
	}
	if f.Moving > 0 && f.InView {
		list = append(list, State{
			Code: CopiesMissing, What: "copies have been missing", after: movingTime, every: rarely,
			Detail: fmt.Sprintf("%d partitions of this node have not all their copies yet; do not stop another node before they have", f.Moving),
			Over:   "no copies are missing",
		})
	}
	return list
}

// join names voters in an order that does not depend on who joined the mesh first.
func join(voters []Voter) string {
	names := make([]string, len(voters))
	for i, v := range voters {
		names[i] = v.String()
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func nameOr(v Voter) string {
	if v.Name != "" {
		return v.Name
	}
	return v.ID
}

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
