//go:build !linux

package mesh

// SystemClock is Go's monotonic clock; it does not count suspended time on every
// system.
func SystemClock() Clock { return MonotonicClock() }
