//go:build mutants

package mutant

import "os"

var on = Mutant(os.Getenv("SHARELOCK_MUTANT"))

// On reports whether a mutant is switched on.
func On(m Mutant) bool { return m == on }
