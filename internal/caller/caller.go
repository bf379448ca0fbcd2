// Package caller says who makes a call: the principal that the node which took the call
// has authenticated, and what the owner of a key must know about it.
//
// The packages that authenticate callers (api) and those that act for them (mesh/route,
// owner) share only this package. Within a node a [Caller] travels in the context of a call,
// or belongs to a session; between members it travels with the forwarded request.
package caller

import "context"

// Anonymous is the principal of calls without credentials while authentication is on.
const Anonymous = "anonymous"

// Caller is who makes a call. The zero value is a caller of a node without authentication.
type Caller struct {
	// Principal is the name of the authenticated principal; [Anonymous] without credentials,
	// and empty if the node does not authenticate.
	Principal string
	// AnyHold allows the caller to renew, release and give up what other principals have: it may
	// force-release the key of this call.
	AnyHold bool
	// ClientID is the client id that came with the call, if it has to be noted who did it; otherwise
	// it is empty.
	ClientID string
}

// Name returns who the caller is, for people: the principal or, without one, the client id.
func (c Caller) Name() string {
	if c.Principal != "" {
		return c.Principal
	}
	return c.ClientID
}

type contextKey struct{}

// With returns a context that carries c.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// From returns the caller that ctx carries, or the zero Caller.
func From(ctx context.Context) Caller {
	c, _ := ctx.Value(contextKey{}).(Caller)
	return c
}
