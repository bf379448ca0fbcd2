// Package mutant holds the switches that break ShareLock on purpose, one rule at
// a time, so that `make mutants` can show that its tests would notice. Without
// the build tag "mutants" every switch is the constant false, and the compiler
// leaves the broken branch out; with it, the environment variable
// SHARELOCK_MUTANT names the one that is on.
//
// It has no compatibility promise.
package mutant

// Mutant names one broken rule.
type Mutant string

// The mutants. Each comment says what is broken, and of which rule.
const (
	// AnswerEarly: an owner answers before its backups have acknowledged (A3).
	AnswerEarly Mutant = "answer-early"
	// NoLeaseCheck: an owner answers without looking at its lease (A2).
	NoLeaseCheck Mutant = "no-lease-check"
)
