// Package gate decides who may make which call: every call of every API passes it, once, at the node
// that takes the call.
//
// A call enters the gate with its credentials, which makes a visit of it, and is then checked for a
// verb on a key. The context of the call carries its visit and its [caller.Caller]. What goes on for
// long is registered, and looked at again when the rules change: acquires that wait and watches, by
// their contexts, and sessions, by their [Guard].
//
//	gRPC     Unary, Stream ─┐
//	HTTP     HTTP           ├─ visit: authenticate, check, tell the audit log ── handler
//	session  Guard ─────────┘
//
// Every route and every method declares what it needs, an [Access]; one that declares nothing is
// refused. A node without an auth file lets everything pass; if it has an audit log, the log is told
// of the calls in the same way, by the addresses of the callers.
package gate
