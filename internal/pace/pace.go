// Package pace lets a goroutine that is woken often rest in between, so that it does more at a time.
package pace

import "time"

// A Pace says for how long a goroutine rests after a piece of work. One that works seldom does not
// rest at all. The zero value rests after every piece. A Pace belongs to one goroutine.
type Pace struct {
	// Credit is the cost of the work that a goroutine which was idle does without a rest.
	Credit time.Duration
	// paid is when the cost of all its work is paid by time that has passed.
	paid time.Time
}

// Spend notes a piece of work, and returns for how long to rest: not longer than it cost. Who works
// on without the rest need not rest longer later.
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
