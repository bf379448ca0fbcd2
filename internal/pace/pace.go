// Package pace makes a goroutine that is woken often pause in between, so that it does more at a time.
package pace

import "time"

// A Pace says how long a goroutine pauses after a piece of work. A goroutine that works seldom does
// not pause at all. The zero value pauses after every piece. A Pace belongs to one goroutine.
type Pace struct {
	// Credit is the cost of the work that a goroutine does without a pause after it was idle.
	Credit time.Duration
	// paid is the time at which the elapsed time will have made up for the cost of all its work.
	paid time.Time
}

// Spend records a piece of work, and returns how long to pause: not longer than the work cost. If the
// goroutine continues without the pause, later pauses do not become longer.
func (p *Pace) Spend(now time.Time, cost time.Duration) time.Duration {
	switch most := now.Add(p.Credit); {
	case p.paid.Before(now):
		p.paid = now
	case p.paid.After(most):
		p.paid = most
	}
	p.paid = p.paid.Add(cost)
	return max(p.paid.Sub(now)-p.Credit, 0)
}
