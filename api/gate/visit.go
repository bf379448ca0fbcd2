package gate

import (
	"context"
	"fmt"
	"net"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/caller"
)

// visit is one call in the gate. It belongs to the goroutine of the call.
type visit struct {
	// gate is nil at a node that does not authenticate its callers.
	gate  *Gate
	audit *audit.Log
	// who is nil if the credentials were refused, and without a gate.
	who  *auth.Identity
	from entrance
	// verb, key and rule are those of the last check.
	verb auth.Verb
	key  string
	rule string
}

// entrance is the origin of a call.
type entrance struct {
	// door is the API and method the call in it, for the audit log.
	door, method string
	remote       net.Addr
}

// visitKey is the key of a context value: the visit of a call.
type visitKey struct{}

func visitOf(ctx context.Context) *visit {
	v, _ := ctx.Value(visitKey{}).(*visit)
	return v
}

// enter authenticates a call. The context that it returns carries the visit and the caller.
func (g *Gate) enter(ctx context.Context, c auth.Credentials, from entrance) (context.Context, *visit, error) {
	v := &visit{gate: g, audit: g.audit, from: from}
	who, err := g.auth.Authenticate(ctx, c)
	if err != nil {
		v.refused(ctx, err)
		return ctx, v, err
	}
	v.who = who
	ctx = context.WithValue(ctx, visitKey{}, v)
	return caller.With(ctx, caller.Caller{Principal: who.Principal()}), v, nil
}

// permit checks what a call needs. key is the key of the request, if it has one.
func (v *visit) permit(ctx context.Context, need Access, key string) (context.Context, error) {
	if !need.free {
		if err := v.gate.quotas.Call(v.who.Principal(), v.who.Limits().MaxCallsPerSecond); err != nil {
			v.refused(ctx, err)
			return ctx, err
		}
	}
	switch need.scope {
	case openToAll, forCaller, inHandler:
		return ctx, nil
	case onKey:
		return v.check(ctx, need.verb, key)
	case onAnyKey:
		return ctx, v.checkAny(ctx, need.verb)
	default:
		err := fmt.Errorf("%w: %s is not open to anyone", sharelock.ErrPermissionDenied, v.from.method)
		v.refused(ctx, err)
		return ctx, err
	}
}

// check checks a verb on a key. The returned context carries the caller, as the owner of the key must
// know it.
func (v *visit) check(ctx context.Context, verb auth.Verb, key string) (context.Context, error) {
	v.verb, v.key = verb, key
	rule, err := v.who.Check(verb, key)
	if err != nil {
		v.refused(ctx, err)
		return ctx, err
	}
	v.rule = rule
	return caller.With(ctx, caller.Caller{Principal: v.who.Principal(), AnyHold: v.who.May(auth.Force, key)}), nil
}

// checkAny checks a verb on any key.
func (v *visit) checkAny(ctx context.Context, verb auth.Verb) (err error) {
	v.verb = verb
	if v.rule, err = v.who.CheckAny(verb); err != nil {
		v.refused(ctx, err)
	}
	return err
}
