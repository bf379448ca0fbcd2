// Package gate decides who may make which call: every call of every API passes it, once, at the node
// that takes the call.
//
// A call enters the gate with its credentials, which creates a visit, and is then checked for a verb
// on a key. The context of the call carries its visit and its [caller.Caller]. Long calls are
// registered, and checked again when the rules change: acquires that wait and watches through their
// contexts, and sessions through their [Guard].
//
//	gRPC     Unary, Stream ─┐
//	HTTP     HTTP           ├─ visit: authenticate, check, tell the audit log ── handler
//	session  Guard ─────────┘
//
// Every route and every method declares an [Access]; without one a call is refused. A node without an
// auth file allows every call. If it has an audit log, it records the calls there in the same way, with
// the addresses of the callers.
package gate
