// Package wake wakes a goroutine without waiting for it.
package wake

// Signal wakes the one goroutine that receives from it. A wake-up that comes while the goroutine
// is busy is kept until it receives again; several are one.
type Signal chan struct{}

// New returns a signal that is not set.
func New() Signal { return make(Signal, 1) }

// Set wakes the goroutine. It does not block.
func (s Signal) Set() {
	select {
	case s <- struct{}{}:
	default:
	}
}
