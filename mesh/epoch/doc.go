// Package epoch holds the view in which a process acts, and the only way to install a newer one.
//
// A [View] is one view with everything that follows from it: the ring, the cluster's constants, and
// the service that runs this member's partitions in it. It is immutable. [Views] holds the newest
// one. A newer view arrives in five ways (Raft's log, the leader's Install, an answer to a renewal,
// an answer to a join, and a peer that is ahead). All of them call [Views.Offer]: when it returns,
// this process acts in the offered view or a later one, and has dropped everything older (A1).
//
// The package uses no network and no clock. Code that waits for something that a newer view may
// change waits for [Views.Changed], too.
package epoch
