// Package linear checks the histories of a lock service: is there an order of all
// calls, each somewhere between its send and its answer, in which every answer is
// right? The search is porcupine's; the model is here. A history can come from a
// simulation or from real processes.
//
// # The model
//
// Keys are independent. The state of a key is what was granted and has not ended:
//
//	granted  how many of the history's tokens have been granted
//	holds    token, request id, mode, slots, and a deadline for each
//	now      no later than the present
//
// A grant takes the next token of the history: no token that the history shows may
// be passed over, since later grants have larger tokens. Its holder may share the
// key with all holds that are left.
//
// A hold ends by a release, by force, or because it expired. Nobody sees a hold
// expire, so the model lets it expire when something needs that, and not before
// its deadline: the last moment that an answer called safe (Q3), the largest of the
// answers so far. What needs it is a grant that does not go together with the hold,
// a read that does not show it, a renewal that was refused. From then on the hold
// is gone: a renewal or a check that says otherwise is a violation. Expiry has a
// time, so the model has a clock: every step moves it to no earlier than its
// call and the deadlines that it needs, and no step is later than its answer.
//
// # State that is lost
//
// A crash may lose the state of a key. Its holds are then unknown to the owner
// (a renewal is refused, a release is "done") but nothing that does not go together
// with them is granted before their deadlines: that is what quarantine is for. And a
// node that has to send a release again takes "not held" for its own work, so it
// may say "done" of a token that had expired. An acquire whose grant was lost before
// its answer came is answered with a later token, or refused. All that is allowed from
// the moment that the history calls troubled, and a violation before. A read that
// answers knows the state in any case.
//
// # Calls without an answer
//
// A call whose outcome is not known may have its effect at any later time, or none:
// it stays in the history with no end, and the model steps both ways. Only what
// cannot be told from "no effect" is left out: reads and renewals (a deadline is the
// earliest end, which a renewal could only put off), and acquires of which no other
// call has seen a token. That is no loss: their hold may end at any time, since
// the node takes back a grant that it cannot deliver, so it forbids nothing. A
// token that somebody saw although no acquire can have been granted it is a
// violation, so a history must have all acquires of its keys.
//
// # Limits
//
// The search gives up after a number of steps, and a key of more than 8,000 calls
// is cut where no call is under way. What cannot be decided is an error.
package linear
