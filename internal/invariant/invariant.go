// Package invariant names the properties of owners, backups, views and leases that the tests check.
package invariant

// A Name names a property that holds as long as no rule is broken. A test that finds it violated
// reports the name and a colon, so that `make mutants` can tell why the test failed. Package
// cluster names the invariants of whole nodes; the name is the same where both mean the same.
type Name string

// The invariants of an owner and its backups.
const (
	// OneHolder: at most one client whose own deadline has not passed believes that it holds
	// a key (Q3).
	OneHolder Name = "one-holder"
	// TokensGrow: the tokens in the answers about a key only grow.
	TokensGrow Name = "tokens-grow"
	// OneGrant: a request id gets one token, and none after the request is over (Q2).
	OneGrant Name = "one-grant"
	// Fair: of two waiters that were both sent again in every period, the first is granted
	// first (Q5).
	Fair Name = "fair"
	// EqualCopies: while nothing is in flight, the backups' copies are equal to their owner's (A3).
	EqualCopies Name = "equal-copies"
	// Replicated: before an owner sends an answer, all backups have acknowledged it in this epoch,
	// so what a client was granted is in their copies (A3).
	Replicated Name = "replicated"
	// Leased: a member that answers as an owner has a lease (A2, Q4).
	Leased Name = "leased"
	// EpochsGrow: a member does not go back to an older epoch (A1).
	EpochsGrow Name = "epochs-grow"
	// NothingLost: what was acknowledged is found again as long as one copy of it is left (4.1,
	// 4.2, G1).
	NothingLost Name = "nothing-lost"
	// NeverFree: a partition whose state was lost does not report a key as free before every lock
	// that may have existed is over (4.3).
	NeverFree Name = "never-free"
	// OnTime: a quarantine or a lock ends neither too early nor too late.
	OnTime Name = "on-time"
	// Bounded: a partition keeps no more for clients than its bounds, and a step of a shard's
	// turn touches no more than allowed (Q6).
	Bounded Name = "bounded"
	// OwnHolds: holds and request ids are those of the principal whose call made them (Q7).
	OwnHolds Name = "own-holds"
	// InRange: epochs fit in 31 bits, and counters do not overflow (tokens, G2).
	InRange Name = "in-range"
)

// The invariants of views and leases.
const (
	// LeaseInView: nobody holds a lease while a view without it is in force, or for a view that
	// it has not installed (V4, V5).
	LeaseInView Name = "lease-in-view"
	// LeaseFromSend: a lease ends L after the member asked for it (V4).
	LeaseFromSend Name = "lease-from-send"
	// Confirmed: a process that grants a lease is still the leader; a majority of the voters
	// confirmed it after the lease was requested (V4).
	Confirmed Name = "confirmed"
	// LiveStay: no view removes a member that may be alive: one that renews, one whose lease was
	// not waited for, or one that only a minority does not hear (V5, V6).
	LiveStay Name = "live-stay"
	// DeadGo: a member that does not renew, or must leave, is removed in time (V5, V6).
	DeadGo Name = "dead-go"
	// AllReached: a process that is admitted has reached all members that stay (V3).
	AllReached Name = "all-reached"
	// SameDecisions: processes that apply the same log decide the same, so a state machine
	// stops at anything that it does not know (W3).
	SameDecisions Name = "same-decisions"
	// Quiet: views and leaders do not change more often than necessary (V3, V5).
	Quiet Name = "quiet"
)
