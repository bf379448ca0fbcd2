// Package machine is the lock machine of one partition: who holds which key, who waits for it,
// and the rules that decide both.
//
// # The idea
//
// A [Machine] is one copy of a partition together with the rules for deciding about it, and
// nothing else: it has no goroutine, reads no clock, does no I/O and writes no log. At the
// partition's owner, requests and the time go in; operations (package ops) and answers come
// out. At a backup the owner's operations go in. Operations are applied by the same code on
// both sides, so all copies have the same state and any of them can take over. Everything
// around the machine (who asks, who acknowledges, when an answer may leave) is the business of
// its shell, package owner.
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
// # How locks are stored
//
// There may be a million locks, and nearly all have one holder and no waiter. Such a hold is a
// record in a slab, its key and ids in an arena, and an entry in a hash table; at the owner also
// an entry in a heap of deadlines (package compact). That is some 120 bytes with a key and ids of
// twenty bytes each, and no pointer, so the garbage collector need not look at it. Request ids
// that are over are stored alike. A key with waiters, several holders or slots is a contended
// key, made of ordinary lists and maps. When three quarters of the records have gone, the rest
// moves into less memory, a part at the end of each turn.
//
// # Bounded steps
//
// No call touches more than [StepEntries] entries or about [StepBytes] bytes, however much is
// stored, so that no request waits long behind another. What is larger is done in parts: by the
// turns that follow (serving a key with many waiters, a large read), or by the caller, which
// calls again until all is done ([Machine.Prepare], [Machine.Sweep], [Machine.Broke],
// [Machine.Piece], [Scan.Step]). Only [Machine.Check] and [Machine.Encode], which are for
// tests, have no bound.
//
// # Using a machine
//
// An owner calls [Machine.Activate], then [Machine.Step] for every request and [Machine.Tick]
// whenever [Machine.Next] says so. A backup calls [Machine.Apply] for every op, [Machine.Tidy]
// after each batch of ops, and Tick too, which forgets ids whose time is over.
// [Machine.Piece] and [Assembler] carry a whole copy from one member to another.
// [Machine.Detach] ends the owner's part. A machine is not safe for concurrent use.
//
// The package makes no compatibility promise except for the encodings.
package machine
