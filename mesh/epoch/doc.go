// Package epoch is what a process acts in: the installed view and the one way into a newer one.
//
// A [View] is one view with all that follows from it: the ring, the cluster's constants, and the
// service that runs this member's partitions in it. It is immutable. [Views] holds the newest one.
// Five doors lead into a newer view (Raft's log, the leader's Install, an answer to a renewal, an
// answer to a join, and a peer that is ahead), and all of them are one step, [Views.Offer]: when it
// returns, this process acts in the offered view or a later one, and has dropped everything
// older (A1).
//
// The package knows no network and no clock. Whoever waits for something that a newer view may
// change waits for [Views.Changed], too.
package epoch
