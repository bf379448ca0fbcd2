// Package owner serves the locks of the partitions that a node owns, and keeps
// copies of those it backs up.
//
// # The idea
//
// Every partition has one owner that decides and some backups that follow. What
// is decided is an [Op]: "this request gets this token", "this one queues",
// "this token is over". The owner numbers its ops, applies them to its own copy
// of the partition and sends them to the backups, which apply the very same ops
// in the same order; so all copies are equal, and any of them can take over.
//
// [Machine] is that copy together with the rules for deciding, and nothing else:
// it has no goroutine, reads no clock, does no I/O and writes no log. Requests
// and the time go in, ops and answers come out. Everything around it (who asks,
// who acknowledges, when an answer may leave) is the shell's business.
//
// # A lock's life
//
// A key has a state of its own only while somebody holds it or waits for it. One
// acquire, known by its request id, goes through this:
//
//	           acquire, key is free                  renew, acquire again (Q2)
//	(new) ------------- Grant ------------> HELD <------------ Renew ----+
//	  |                                     ^  |  \______________________|
//	  | acquire,                      Grant |  |
//	  | somebody is ahead                   |  | Release: released, expired,
//	  |                                     |  |          forced, cancelled
//	  +---- Enqueue ----> WAITING ----------+  |
//	                         |                 v
//	                         +-- Dequeue --> OVER ---- 90 s ----> (forgotten)
//	                    cancelled, wait over,  ^
//	                    silent                 |
//	(new) -------- Remember (cancelled) -------+
//
// Held, waiting and over are in every copy. Only the owner knows the rest, which
// cannot be copied: when a hold expires, to whom a waiter's answers go, when it
// was last heard of and how long it wants to wait. [Machine.Activate] makes all
// of that afresh when a copy becomes the owner's: holds get a whole TTL, waiters
// get one period to come back (they are settling) before they are passed over.
//
// A waiter is in one of three conditions at the owner:
//
//	attached  somebody listens: it is granted in its turn
//	settling  it has not come back since the activation, or since the link between
//	          members broke over which it came: everybody behind it waits
//	detached  nobody listens: it keeps its place but is passed over
//
// Three periods without a send end all three.
//
// # How locks are kept
//
// There may be a million of them, and nearly all have one holder and nobody who
// waits. Such a hold is a record in a slab, a block of bytes with its key and its
// ids, and a slot of an index; at the owner also an entry among the deadlines: some
// 120 bytes with a key and ids of twenty bytes each, and no pointer, so that the
// garbage collector need not look at them. Request ids that are over are kept alike.
// A key with waiters, several holders or slots has a crowd, made of ordinary maps and
// lists. When a quarter of what there was is left, it moves into less memory, a
// part at the end of each turn.
//
// # Using a machine
//
// An owner calls [Machine.Activate], then [Machine.Step] for every request and
// [Machine.Tick] whenever [Machine.Next] says so. A backup calls
// [Machine.Apply] for every op, and Tick too, so that it forgets what is to be
// forgotten. [Machine.Encode] and [Machine.Decode] carry a whole copy from one
// to the other. [Machine.Detach] ends the owner's part. A machine is not safe
// for concurrent use: one goroutine at a time.
//
// The package makes no compatibility promise except for the encodings.
package owner
