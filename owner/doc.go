// Package owner serves the locks of the partitions that a node owns, and keeps copies of
// those that it backs up.
//
// # The idea
//
// Every partition has one owner, which decides, and backups, which follow. The decisions are
// made by a [machine.Machine], which is pure: requests and the time go in, operations and
// answers come out. This package is the shell around the machines of one member. It has the
// clock, the goroutines and the other members, and it decides two things: who may act, and
// when an answer may leave.
//
//   - [Service] has all partitions of the member, in a fixed number of shards. A shard is a
//     loop around its machines: it takes what has arrived as a batch, hands each request to
//     its machine, sends the operations to the backups and lets answers leave (shard.go,
//     loop.go, steps.go, answers.go).
//   - An answer leaves when all backups have acknowledged the operations before it, and only
//     if the member's lease is valid and the epoch is still the current one (A2, A3). Until
//     then operations and answers wait in the partition's log (replicate.go). The other side,
//     which follows and acknowledges, is in backup.go.
//   - When a view makes the member the owner of partitions, an activation asks all members
//     what they hold, chooses the newest copy of each partition, fetches it, gives it to the
//     backups, and only then serves requests (activate.go, fetch.go, push.go; copies.go answers the
//     activations of others). A partition whose state is lost is in quarantine until every
//     lock that may have existed has expired.
//   - What a machine decides of keys that are watched is told to feeds, like an answer (watched.go);
//     feed.go reads the present state for them.
//
// # One goroutine at a time
//
// Whoever has a shard's turn may touch its partitions: the loop, or a caller that finds the
// loop idle and does the work in its stead. No step of a turn touches more than a bounded
// number of entries; what is larger is done in parts (see chore).
//
// The package needs of other members what [Peers] lists, and calls [Caller] with answers. It
// knows neither the network nor how views come about.
//
// The package makes no compatibility promise.
package owner
