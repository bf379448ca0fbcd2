package views

// Rule is a rule, or a part of one, that can be switched off.
type Rule uint8

// The rules that the tests switch off, one at a time.
const (
	// AllRules is no rule: nothing is switched off.
	AllRules Rule = iota
	// A1Stop: a process that answers an ask refuses everything of older epochs from then on.
	A1Stop
	// AskAll: an activation chooses after every member of the view has answered (4.1).
	AskAll
	// Witness: a copy is good only if every view since has a witness (4.2).
	Witness
	// SyncAll: an owner serves after all of its backups have the base (4.5).
	SyncAll
	// DropActive: copies are dropped after the newer epoch became active (G1).
	DropActive
	// DialBack: a joiner is admitted after every member has dialled it back (V3).
	DialBack
	// Reach: a joiner is admitted after it reached every member (V3).
	Reach
	// WaitLease: a member that does not renew is removed when its lease has ended (V5).
	WaitLease
	// WaitClaims: it is removed after every other voter that renews has renewed since (V5).
	WaitClaims
	// HandOver: leadership goes to a voter that the silent member calls (V5).
	HandOver
	// OwnCalls: a voter's claim is about the calls it gets, not about answers to its own (V5).
	OwnCalls
	// OneHandOver: a new leader does not hand over again for the same silence (V5).
	OneHandOver
	// Complaints: a broken pair is resolved by removing a member (V6).
	Complaints
	// Mark: the member is marked leaving, and not removed as by V5 (V6a).
	Mark
	// Relay: what a leaving member and the owner cannot send to each other directly goes
	// through the leader (V6a).
	Relay
	// RelayByMembers: both sides call the leader for that; it does not call them (V6a).
	RelayByMembers
	// ToldFirst: a leaving member is removed after G1 told it of the partition (V6a, V7).
	ToldFirst
	// Deaf: a leaving member that answers nothing through the leader is removed as by
	// V5 (V6a).
	Deaf
	// Irregular: a member that keeps missing renewals while a choice waits is marked (V6a).
	Irregular
	// Unmarked: a view keeps an unmarked member (V7).
	Unmarked
)

// Kinds of steps.
const (
	stepCrash uint8 = iota
	stepCut
	stepCutOneWay
	stepHeal
	stepDeafen
	stepMute
	stepPause
	stepLate
	stepAskToLeave
	stepElectAnyway
	stepRestart

	stepWake
	stepRenew
	stepRenewWaiting
	stepJoin
	stepSilent
	stepLeaseEnds
	stepElect
	stepHandOverLost
	stepHandOverSilent
	stepHandOverMarked
	stepDeaf
	stepIrregular
	stepView
	stepAsk
	stepChoose
	stepFetch
	stepSync
	stepServe
	stepTell
)

// The properties.
const (
	safetyTwo  = "SAFETY (an activation chooses while the old owner can still commit)"
	safetyLost = "SAFETY (a copy without the last decision is called good)"
	durability = "DURABILITY (quarantine although the last decision lives)"
	liveness   = "LIVENESS (the partition is never served)"
	flapping   = "FLAPPING (views or leaders change for ever)"
	torn       = "TORN (a broken pair stays in the view)"
)
