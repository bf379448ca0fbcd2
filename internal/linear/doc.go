// Package linear checks histories of a lock service for linearizability: is there an order of
// all calls, each somewhere between its send and its answer, in which every answer is right?
// Package porcupine does the search; this package has the model. A history can come from a
// simulation or from real processes.
//
// # The model
//
// Keys are independent. The state of a key consists of the grants that have not ended:
//
//	granted  how many of the history's tokens have been granted
//	holds    token, request id, mode, slots, and a deadline for each
//	now      no later than the present
//
// A grant takes the next token of the history. It may not skip a token that the history
// shows, because later grants have larger tokens. The new hold must be compatible with all
// holds that are left.
//
// A hold ends by a release, by force, or because it expires. Nobody observes an expiry, so the
// model lets a hold expire when a call requires it, and not before its deadline: the largest
// of the safe times in the answers so far (Q3). Such a call is a grant that is incompatible with
// the hold, a read that does not show the hold, or a renewal that was refused. From then on the
// hold is gone: a renewal or a check that says otherwise is a violation. Expiry depends on time,
// so the model has a clock: every step moves it to at least the send of its call and the
// deadlines that it requires, and no step happens after its answer.
//
// # State that is lost
//
// A crash may lose the state of a key. The owner then does not know its holds (a renewal is
// refused, a release is "done"), but it grants nothing incompatible before their deadlines:
// that is the purpose of quarantine. A node that has to send a release again takes "not held"
// for the result of its first send, so it may report "done" for a token that had expired. An
// acquire whose grant was lost before its answer came is answered with a later token, or
// refused. All this is allowed from the moment troubled on, and a violation before. A read
// that is answered knows the state in any case.
//
// # Calls without an answer
//
// A call whose outcome is unknown may have its effect at any later time, or never: it stays
// in the history without an end, and the model tries both. Calls are left out if their effect
// cannot be observed: reads and renewals (a deadline is the earliest end of a hold, and a
// renewal could only move it), and acquires whose token no other call has shown. Leaving these
// acquires out is sound: the node takes back a grant that it cannot deliver, so such a hold
// may end at any time and forbids nothing. A token that was seen although no acquire can have
// been granted it is a violation, so a history must contain all acquires of its keys.
//
// # Limits
//
// The search gives up after a number of steps. A key with more than 8,000 calls is cut at
// moments at which no call is in flight. If the search cannot decide, the result is an error.
package linear
