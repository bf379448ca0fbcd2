//go:build !linux

package clock

import "time"

// System returns Go's monotonic clock. On systems where it stops during suspend, a machine that
// sleeps while it holds a lock must rely on the fencing token.
func System() func() time.Duration { return Monotonic() }
