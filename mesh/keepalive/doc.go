// Package keepalive renews the holds that clients have attached to their sessions with a node, so
// that a client with many locks says one word a period instead of a renewal for each.
//
// A client attaches a hold to its [Session] and sends keepalives, which stand for all that are
// attached. The [Keeper] renews the holds of all sessions in rounds: those that are due wait in
// wheels of buckets, by partition, and the holds of a partition make one request to its owner. A
// hold is renewed only if its client has sent a keepalive since, and a renewal counts from that
// keepalive (Q3), which the client knows the time of; so a client that is gone loses its locks as
// if it had renewed each of them by itself.
//
//   - keeper.go is the loop, round.go what it does for the holds that are due,
//   - wheel.go and bucket.go say which those are,
//   - session.go attaches holds and lets go of them, taken.go of those that were taken away.
package keepalive
