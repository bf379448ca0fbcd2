package cluster_test

import "time"

// Under the race detector, which makes a simulated mesh some ten times slower, long tables run with a
// part of their rows, and long stretches of calm are shorter: what they do there, every row does.
// `make sim` runs all of it without the detector.

// sparse reports whether row i of a long table is left out.
func sparse(i int) bool { return slower > 1 && i%5 != 0 }

// calm returns the length of a stretch of virtual time in which nothing is to happen.
func calm(d time.Duration) time.Duration {
	if slower > 1 {
		return d / 5
	}
	return d
}
