package gate

import (
	"context"
	"fmt"
	"sync"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/quota"
)

// Config configures a gate.
type Config struct {
	// Auth authenticates callers and says what they may do. If it is nil, everyone may do
	// everything, and the gate only writes the audit log.
	Auth *auth.Authority
	// Audit records what was denied, and more; nil records nothing.
	Audit *audit.Log
	// Quotas limits what a principal may ask of the node; nil limits nothing.
	Quotas *quota.Quotas
}

// Gate authenticates and checks every call of every API, once, at the node that takes the call. A nil
// Gate allows everything and records nothing. Create it with [New]. All methods are safe for
// concurrent use.
type Gate struct {
	auth   *auth.Authority // nil lets everything pass
	audit  *audit.Log
	quotas *quota.Quotas

	mu       sync.Mutex
	sessions map[*Guard]struct{}   // guarded by mu
	waits    map[*waiting]struct{} // other than those of sessions; guarded by mu
}

// New returns the gate of a server, or nil if the node neither authenticates its callers nor has an
// audit log.
func New(c Config) *Gate {
	if c.Auth == nil && c.Audit == nil {
		return nil
	}
	g := &Gate{auth: c.Auth, audit: c.Audit, quotas: c.Quotas, sessions: map[*Guard]struct{}{}, waits: map[*waiting]struct{}{}}
	if c.Auth != nil {
		c.Auth.Observe(g.look)
	}
	return g
}

// Authenticates reports whether the gate authenticates callers. If not, it allows every call.
func (g *Gate) Authenticates() bool { return g != nil && g.auth != nil }

// Check checks a verb on a key for a handler that does so by itself; see [NeedsChecks]. The returned
// context carries the caller, as the owner of the key must know it.
func (g *Gate) Check(ctx context.Context, verb auth.Verb, key string) (context.Context, error) {
	v := visitOf(ctx)
	switch {
	case !g.Authenticates():
		v.note(verb, key)
		return ctx, nil
	case v == nil:
		return ctx, errNoVisit
	}
	return v.check(ctx, verb, key)
}

// errNoVisit refuses a call that bypassed the gate, which is a bug.
var errNoVisit = fmt.Errorf("%w: a call was not authenticated", sharelock.ErrInternal)

// Within returns the prefixes below prefix that the caller may read, sorted. all is set if that is
// everything below prefix, which it always is without authentication.
func (g *Gate) Within(ctx context.Context, prefix string) (list []string, all bool, err error) {
	if !g.Authenticates() {
		return nil, true, nil
	}
	v := visitOf(ctx)
	if v == nil {
		return nil, false, errNoVisit
	}
	v.verb, v.key = auth.Read, prefix
	if list, all, err = v.who.Within(auth.Read, prefix); err != nil {
		v.refused(ctx, err)
	}
	return list, all, err
}

// MayRead reports whether the caller may read a key, for lists of keys; without authentication it
// always may.
func MayRead(ctx context.Context, key string) bool {
	v := visitOf(ctx)
	return v == nil || v.gate == nil || v.who.May(auth.Read, key)
}

// Identity returns who makes a call, or nil if the gate does not authenticate callers.
func (g *Gate) Identity(ctx context.Context) (*auth.Identity, error) {
	if !g.Authenticates() {
		return nil, nil
	}
	v := visitOf(ctx)
	if v == nil {
		return nil, errNoVisit
	}
	return v.who, nil
}
