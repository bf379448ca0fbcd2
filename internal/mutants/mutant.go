package mutants

// A mutant is the product with one rule broken.
type mutant struct {
	// name is the value of SHARELOCK_MUTANT that switches the mutant on.
	name string
	// rule is the number of the broken rule. breaks is what happens instead.
	rule, breaks string
	// code are the changes of the product.
	code []rewrite
	// nets are tests that must each catch the mutant.
	nets []net
	// seeds is the number of seeds of the random run that may be needed to catch it. With 0 the random
	// run is not tried, because the situation that it would have to hit is too rare.
	seeds int
}

// A net is one or more tests, at least one of which must fail.
type net struct {
	// dir is the folder of the tests, tests a regular expression for their names.
	dir, tests string
	// by lists the invariants, one of which the failure must name.
	by []string
}
