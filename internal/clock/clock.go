// Package clock gives the clocks that deadlines are kept by: functions that return the time
// since an arbitrary start. They never jump, and differ in whether they go on while the machine
// is suspended (protocol, assumptions).
package clock

import "time"

// Monotonic returns a clock that counts from now on. It stands still while the machine is
// suspended; inside a testing/synctest bubble it is the bubble's clock.
func Monotonic() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
