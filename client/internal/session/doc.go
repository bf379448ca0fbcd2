// Package session carries a client's calls to one node.
//
// A [Session] has at most one stream to its node that takes calls: whatever waits to be sent goes out
// as one message, and nothing waits for more to come (A4). A stream that breaks fails all its calls as
// if the node could not be reached, and the next call opens another stream. The messages are those of
// LockService.Session, sent without gRPC where the node understands that, and over gRPC otherwise; for
// a node that knows no sessions each call is a unary one.
//
// A stream also keeps locks alive: the node renews what is attached to it, and the client sends one
// keepalive for all of them from time to time. The node says of each renewal which keepalive it counts
// from (Q3). What becomes of a lock is decided by the [Keeper], not here.
//
// A session does not retry, does not choose the node, and knows nothing of who owns which key.
package session
