package mutants

// A mutant is the product with one rule broken.
type mutant struct {
	// name is the value of SHARELOCK_MUTANT that switches the mutant on.
	name string
	// rule is the number of the broken rule, breaks what happens instead of it.
	rule, breaks string
	// code are the changes of the product.
	code []rewrite
	// nets are tests that must each catch the mutant.
	nets []net
	// seeds is how many seeds of the random run may be needed to catch it. Zero: the random
	// run is not tried, since what it would have to meet is too rare.
	seeds int
}

// A net is one or more tests, of which one must fail.
type net struct {
	// dir is the folder of the tests, tests a regular expression for their names.
	dir, tests string
	// by are the invariants of which the failure must name one.
	by []string
}
