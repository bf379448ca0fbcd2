// Package workload takes and releases locks with many workers and measures how that
// goes, for "sharelock bench" and for comparisons with other lock services: what
// it drives is a [Locker], whatever that is made of.
//
// # Closed and open loops
//
// Without a rate every worker takes its next lock when it has released the last
// one. That finds the most a service can do, but its latencies flatter: while the
// service stalls, nobody asks. With [Options.Rate] the acquires are due at fixed
// times, and each counts from the time it was due, whether a worker was free to
// send it or not; a stall is then seen by everyone it would have met. (This is the
// correction for coordinated omission of wrk2 and HdrHistogram.)
package workload
