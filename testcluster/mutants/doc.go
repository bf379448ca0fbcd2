// Package mutants proves that the tests would notice a broken rule. Its test, `make
// mutants`, breaks the rules of the protocol one at a time (package owner/mutant)
// and demands for each that the tests named in its table fail: simulations by
// naming the invariant that broke, deterministic schedules by their own name. A
// failure of another kind, a panic or a test that hangs, proves nothing.
package mutants
