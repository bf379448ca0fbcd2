package cluster_test

import "time"

// The race detector makes a simulated mesh about ten times slower. With it, long tables run only some
// of their rows, and long stretches of calm are shorter; every row tests the same races. `make sim`
// runs everything without the detector.

// sparse reports whether row i of a long table is left out.
func sparse(i int) bool { return slower > 1 && i%8 != 0 }

// calm returns the length of a stretch of virtual time in which nothing must happen.
func calm(d time.Duration) time.Duration {
	if slower > 1 {
		return d / 5
	}
	return d
}
