// Package invariant names what the tests check of owners, their backups, views and leases.
package invariant

// A Name names what holds as long as no rule is broken. A test that finds an invariant
// violated says so with its name and a colon, so that `make mutants` can tell why the test
// failed. The invariants of whole nodes are those of package cluster; where both mean
// the same, the name is the same.
type Name string

// The invariants of an owner and its backups.
const (
	// OneHolder: at most one client whose own deadline has not passed believes it holds
	// a key (Q3).
	OneHolder Name = "one-holder"
	// TokensGrow: what is answered for a key has larger and larger tokens.
	TokensGrow Name = "tokens-grow"
	// OneGrant: a request id gets one token, and none once it is over (Q2).
	OneGrant Name = "one-grant"
	// Fair: of two waiters of which neither was silent for a period, the first is
	// granted first (Q5).
	Fair Name = "fair"
	// EqualCopies: when nothing is under way, the backups' copies are their owner's
	// (A3).
	EqualCopies Name = "equal-copies"
	// Replicated: what an owner answers all backups have acknowledged in this epoch, so
	// what a client was granted is in their copies (A3).
	Replicated Name = "replicated"
	// Leased: who gives an owner's word has a lease (A2, Q4).
	Leased Name = "leased"
	// EpochsGrow: a member does not go back to an older epoch (A1).
	EpochsGrow Name = "epochs-grow"
	// NothingLost: what was acknowledged is found again, as long as one copy of it is
	// left (4.1, 4.2, G1).
	NothingLost Name = "nothing-lost"
	// NeverFree: a partition whose state was lost does not call a key free before every
	// lock that may have existed is over (4.3).
	NeverFree Name = "never-free"
	// OnTime: what waits for a time, a quarantine or a lock, waits neither less nor
	// more.
	OnTime Name = "on-time"
	// Bounded: a partition keeps no more for clients than its bounds, and a step of a
	// shard's turn touches no more than it may (Q6).
	Bounded Name = "bounded"
	// OwnHolds: holds and request ids are those of the principal whose call made them (Q7).
	OwnHolds Name = "own-holds"
	// InRange: epochs fit in 31 bits, and counters do not overflow (tokens, G2).
	InRange Name = "in-range"
)

// The invariants of views and leases.
const (
	// LeaseInView: nobody holds a lease while a view without it is in force, or for a
	// view that it has not installed (V4, V5).
	LeaseInView Name = "lease-in-view"
	// LeaseFromSend: a lease ends L after the member asked for it (V4).
	LeaseFromSend Name = "lease-from-send"
	// Confirmed: who gives a lease still leads, as a majority of the voters says after it
	// was asked (V4).
	Confirmed Name = "confirmed"
	// LiveStay: no view leaves out a member that may be alive: one that renews, or was
	// not waited out, or that only a minority does not hear (V5, V6).
	LiveStay Name = "live-stay"
	// DeadGo: a view without a member that does not renew, or is to go, comes in time
	// (V5, V6).
	DeadGo Name = "dead-go"
	// AllReached: who is let in has reached all who stay (V3).
	AllReached Name = "all-reached"
	// SameDecisions: whoever applies the same log decides the same, so a state machine
	// stops at what it does not know (W3).
	SameDecisions Name = "same-decisions"
	// Quiet: views and leaders do not change more often than they must (V3, V5).
	Quiet Name = "quiet"
)
