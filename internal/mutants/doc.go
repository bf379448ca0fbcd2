// Package mutants proves that the tests would notice a broken rule. Its test, `make
// mutants`, breaks the rules of the protocol one at a time (package owner/mutant)
// and demands for each that the tests named in its table fail, and name the invariant
// that broke: simulations and deterministic schedules at every try, random runs within
// a number of seeds. A failure of another kind, a panic or a test that hangs, proves
// nothing. It ends with a table of what has caught each.
package mutants
