package rules

import "time"

// MaxAge is the longest that a request may wait at a member, in any queue (Q1).
const MaxAge = 30 * time.Second

// FenceTime is how long an id is remembered that was given up before it was first seen (Q6): as long
// as a send of it may be in flight (Q1), stretched.
const FenceTime = MaxAge + MaxAge/10

// LongestPeriod bounds Period.
const LongestPeriod = 2 * time.Second

// Period returns the time between two sends of a waiter with this TTL (Q5).
func Period(ttl time.Duration) time.Duration { return min(ttl/3, LongestPeriod) }

// Stretch returns d times 1.1, rounded up: how long to wait for the end of a time that another
// process measures.
func Stretch(d time.Duration) time.Duration { return d + (d+9)/10 }

// Unstretch returns the shortest d whose Stretch is at least as long as left.
func Unstretch(left time.Duration) time.Duration {
	d := left - left/11
	for d > 0 && Stretch(d-1) >= left {
		d--
	}
	return d
}

// Shrink returns d divided by 1.1, rounded down: the least that a time d measured by this process was
// by the clock of another.
func Shrink(d time.Duration) time.Duration { return d * 10 / 11 }

// The shortest and the longest pause before a request that was answered Retry is sent again, unless a
// new view comes first (Q1).
const (
	RetryFirst = 2 * time.Millisecond
	RetryMost  = 50 * time.Millisecond
)
