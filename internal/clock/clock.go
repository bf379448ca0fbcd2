// Package clock has the clocks for deadlines: functions that return the time since an arbitrary start.
// They never jump. They differ in whether they continue while the machine is suspended (protocol,
// assumptions).
package clock

import "time"

// Monotonic returns a clock that counts from now on. It stands still while the machine is
// suspended; inside a testing/synctest bubble it is the bubble's clock.
func Monotonic() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
