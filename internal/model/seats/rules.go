package seats

// Rule is a rule, or a part of one, that can be switched off.
type Rule uint8

// The rules that the tests switch off, one at a time.
const (
	// AllRules is no rule: nothing is switched off.
	AllRules Rule = iota
	// Newest: a process votes for nobody whose log is older than its own (Raft).
	Newest
	// KeepSeat: a voter that stops in good order keeps its seat (V1).
	KeepSeat
	// Pairs: absent seats beyond three are given up in pairs (V1).
	Pairs
	// VoteUntilAnswered: a process that leaves keeps voting until the leader has answered (V7).
	VoteUntilAnswered
	// CountGone: the leader counts every process that it has answered as absent (V7).
	CountGone
	// SeatTaken: a needed voter waits while a live process could take its seat (V7).
	SeatTaken
	// GiveUpFirst: absent seats beyond three are given up before a needed voter goes (V7).
	GiveUpFirst
	// HandOver: a marked leader hands leadership to an unmarked voter (V7).
	HandOver
	// AllTold: if all members were told to stop the leader tells all to (V7).
	AllTold
	// Alone: a leader that is alone in its view stops when nobody waits for its answer (V7).
	Alone
	// NoLeader: who was told to stop, is no member and finds no leader stops at once (V7).
	NoLeader
)

const (
	two      = "TWO (a leader lacks an entry that counts)"
	majority = "MAJORITY (a majority of the seats is up and elects nobody)"
	returned = "RETURN (a majority of the former seats came back and elects nobody)"
	choice   = "CHOICE (the rest is no majority, though a live process could have taken the seat)"
	shrink   = "SHRINK (the rest is no majority, though absent seats could have been given up)"
	hang     = "HANG (a process that was told to stop waits for ever)"
	even     = "ODD (an even number of seats stays)"
	margin   = "MARGIN (a change of seats leaves less than a majority)"
)

// Kinds of steps.
const (
	stepStop uint8 = iota
	stepKill
	stepKillLost
	stepStart
	stepElect
	stepReplicate
	stepCount
	stepRemove
	stepJoin
	stepMark
	stepLeave
	stepTransfer
	stepAnswer
	stepExit
	stepExitAlone
	stepDemote
	stepPromote
	stepGiveUp
)
