package owner

import "time"

// Stretch is d times 1.1, rounded up: how long to wait for the end of a time
// that another process measures.
func Stretch(d time.Duration) time.Duration { return d + (d+9)/10 }

// unstretch is the shortest d whose Stretch is at least as long as left.
func unstretch(left time.Duration) time.Duration {
	d := left - left/11
	for d > 0 && Stretch(d-1) >= left {
		d--
	}
	return d
}
