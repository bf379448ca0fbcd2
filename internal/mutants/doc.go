// Package mutants proves that the tests would notice a broken rule. Its test, `make mutants`,
// breaks the rules of the protocol one at a time. For each it demands that the tests named beside
// it fail and name the violated invariant: simulations and deterministic schedules at every try,
// random runs within a number of seeds. A failure of another kind, a panic or a test that hangs,
// proves nothing. At the end it prints a table of what has caught each mutant.
//
// The code of the product has no trace of this. A mutant is a rewrite of named functions,
// written as a diff (see [rewrite]):
//
//	{
//		name: "no-back-off", rule: "V3",
//		breaks: "a process that keeps coming and going is admitted at once",
//		code: []rewrite{
//			in("mesh/view", "Memory.mayReturn", `
//				- return m.backOffLeft(p, now, lease) == 0
//				+ return m.backOffLeft(p, now, lease) == 0 || mutated
//			`),
//		},
//		nets: []net{
//			agreement("TestSchedule15cComebacksBackOff", invariant.Quiet),
//		},
//	},
//
// [add] adds declarations that a rewrite needs. The test rewrites a copy of the source with all
// mutants at once, lets the go command compile that copy (go build -overlay) into one test binary for
// each package, and runs the binaries with the variable SHARELOCK_MUTANT set to the mutant that is on. A quick test,
// which builds nothing, checks that all rewrites still apply. If it fails after a change
// of the product, change the diff that it names. It does not matter in which file of its
// package a function is.
package mutants
