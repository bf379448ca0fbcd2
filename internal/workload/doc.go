// Package workload acquires and releases locks with many workers and measures the latencies, for
// "sharelock bench" and for comparisons with other lock services. It drives a [Locker], which may
// be a client of any of them.
//
// # Closed and open loops
//
// Without a rate every worker acquires its next lock when it has released the last one. That
// finds the maximum throughput of a service, but its latencies are too good: while the service
// stalls, nobody asks. With [Options.Rate] the acquires are due at fixed times, and the latency of
// each counts from the time it was due, whether a worker was free to send it or not. A stall then
// shows in every acquire that was due during it. (This is the correction for coordinated omission
// of wrk2 and HdrHistogram.)
package workload
