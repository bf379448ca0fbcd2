// Package mutant holds the switches that break ShareLock on purpose, one rule at
// a time, so that `make mutants` can show that its tests would notice. Without
// the build tag "mutants" every switch is the constant false, and the compiler
// leaves the broken branch out; with it, the environment variable
// SHARELOCK_MUTANT names the one that is on.
//
// Package internal/mutants says by what each is caught.
//
// It has no compatibility promise.
package mutant

// Mutant names one broken rule.
type Mutant string

// The mutants of an owner and its backups. Each comment says what is broken, and
// of which rule.
const (
	// AnswerEarly: an owner answers before its backups have acknowledged (A3).
	AnswerEarly Mutant = "answer-early"
	// NoLeaseCheck: an owner lets an answer leave without looking at its lease (A2).
	// The node that takes a request looks at it too, before and after, so only the
	// owner's own tests see this one.
	NoLeaseCheck Mutant = "no-lease-check"
	// ServeWithoutLease: nobody looks at the lease (A2, Q4).
	ServeWithoutLease Mutant = "serve-without-lease"
	// CurGoesBack: an older view is installed too (A1).
	CurGoesBack Mutant = "cur-goes-back"
	// PendingKept: answers that wait for acknowledgements survive a newer view (A1).
	PendingKept Mutant = "pending-kept"
	// OldAcks: acknowledgements of an older epoch count (A1).
	OldAcks Mutant = "old-acks"
	// AckUnapplied: a backup acknowledges operations that it has not applied (A3).
	AckUnapplied Mutant = "ack-unapplied"
	// AcceptGap: a backup goes on behind a gap in the log (A3).
	AcceptGap Mutant = "accept-gap"
	// RenewWithoutLog: a renewal is not replicated (A3).
	RenewWithoutLog Mutant = "renew-without-log"
	// NoBound: a partition takes requests beyond the bound of what it may keep (Q6).
	NoBound Mutant = "no-bound"
	// ReadWithoutLog: a linearizable read has no place in the log (A3).
	ReadWithoutLog Mutant = "read-without-log"

	// AskUnanswered: an activation does not wait for the answer of the member that
	// joined last (4.1).
	AskUnanswered Mutant = "ask-unanswered"
	// OldAnswers: what members answered to an activation counts also when a newer view
	// has come (4.1, A1).
	OldAnswers Mutant = "old-answers"
	// HaveIgnored: the longest copy is chosen, of whatever epoch (4.2).
	HaveIgnored Mutant = "have-ignored"
	// RestartedWitness: a later incarnation of a member speaks for it (4.2).
	RestartedWitness Mutant = "restarted-witness"
	// AnyCopyIsGood: a copy needs no witnesses, so there is no quarantine (4.2, 4.3).
	AnyCopyIsGood Mutant = "any-copy-is-good"
	// QuarantineEarly: a quarantine ends after half of its time (4.3).
	QuarantineEarly Mutant = "quarantine-early"
	// QuarantineForgotten: a quarantine ends with its owner (4.3).
	QuarantineForgotten Mutant = "quarantine-forgotten"
	// QuarantineAgain: a quarantine is begun again by the next activation (4.3).
	QuarantineAgain Mutant = "quarantine-again"
	// SyncNotAwaited: an owner serves before its backups have confirmed the base, and
	// these take its operations on whatever copy they have (4.4, 4.5, A3).
	SyncNotAwaited Mutant = "sync-not-awaited"
	// TTLNotRestarted: an activation gives holders half of their TTL only (4.5).
	TTLNotRestarted Mutant = "ttl-not-restarted"
	// TokenWithoutEpoch: tokens do not tell epochs apart (tokens, 4.3).
	TokenWithoutEpoch Mutant = "token-without-epoch"
	// DropEarly: a member drops a copy when it leaves the replica set, not when the
	// partition is active elsewhere (G1).
	DropEarly Mutant = "drop-early"
	// NoRefresh: a counter that is half used up asks for no new epoch (G2).
	NoRefresh Mutant = "no-refresh"

	// LocalFallback: a node grants by itself what the owner does not answer (Q1, Q4).
	LocalFallback Mutant = "local-fallback"
	// GrantTwice: a retry does not find its grant and gets another (Q2).
	GrantTwice Mutant = "grant-twice"
	// UnseenNotFenced: an id that is given up before it was seen is not remembered (Q2, Q6).
	// TestFenceComesFirst.
	UnseenNotFenced Mutant = "unseen-not-fenced"
	// HolderNotTold: nobody tells a holder that its lock was taken away by force.
	// TestForcedHolderIsTold.
	HolderNotTold Mutant = "holder-not-told"
	// OverForgotten: ids that are over are not remembered (Q2).
	OverForgotten Mutant = "over-forgotten"
	// ReleaseAnyToken: a release of a token that is over ends the hold of another (Q2).
	ReleaseAnyToken Mutant = "release-any-token"
	// NotStretched: an owner expires a lock after its TTL by its own clock (Q3).
	NotStretched Mutant = "not-stretched"
	// PassOverFIFO: the last waiter is granted, not the first (Q5).
	PassOverFIFO Mutant = "pass-over-fifo"
	// NoSettling: after an activation nobody waits for waiters to re-attach (Q5).
	NoSettling Mutant = "no-settling"
	// BrokenPassedOver: nobody waits for waiters whose link to the owner broke (Q5).
	BrokenPassedOver Mutant = "broken-passed-over"
)

// The mutants of a node and of a client that ask an owner.
const (
	// AnySend: the answer to an earlier send counts as one to the newest (Q3).
	AnySend Mutant = "any-send"
	// SafeFromAnswer: a node counts a grant's life from its answer (Q3).
	SafeFromAnswer Mutant = "safe-from-answer"
	// NewestKeepalive: a node counts the renewal of a hold from the newest keepalive, not
	// from the one before the renewal began (Q3).
	NewestKeepalive Mutant = "newest-keepalive"
	// RenewedUnconfirmed: a node tells a session that a hold was renewed though its owner
	// did not say so (Q3, A2).
	RenewedUnconfirmed Mutant = "renewed-unconfirmed"
)

// The mutants of those who agree on the view and give leases.
const (
	// FoundUnasked: --found founds a cluster without asking the seeds (V0).
	// TestSimFoundedTwice.
	FoundUnasked Mutant = "found-unasked"

	// LeaseFromAnswer: a member counts its lease from the answer (V4).
	// TestSchedule07LeaseCountsFromTheSend.
	LeaseFromAnswer Mutant = "lease-from-answer"
	// LeaseBeforeView: an answer counts before its view is installed (V4).
	// TestSchedule10LeaseForAnEpochNotInstalled.
	LeaseBeforeView Mutant = "lease-before-view"

	// NoDialBack: a joiner is not dialled back (V3). TestSimUndiallable.
	NoDialBack Mutant = "no-dial-back"
	// RemoveUntold: a marked member is removed before G1 has told it of every partition
	// (V6a, V7). TestSchedule16MarkedUntilTold, TestSchedule16iOneCopy.
	RemoveUntold Mutant = "remove-untold"
)
