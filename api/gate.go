package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/caller"
	"github.com/sgkandale/sharelock/internal/quota"
)

// gate is where every call of every API is authenticated and checked, once, at the node that takes
// it. A nil gate lets everything pass: the node does not authenticate its callers.
//
// A call enters the gate with its credentials, which makes a visit of it, and is then checked for a
// verb on a key. What goes on for long, sessions and acquires that wait, is registered, and looked
// at again when the rules change.
type gate struct {
	auth   *auth.Authority
	audit  *audit.Log
	quotas *quota.Quotas
	log    *slog.Logger

	mu       sync.Mutex
	sessions map[*guard]struct{} // guarded by mu
	waits    map[*waiting]struct{}
}

// newGate returns the gate of a server, or nil.
func newGate(o Options) *gate {
	if o.Auth == nil {
		return nil
	}
	g := &gate{
		auth: o.Auth, audit: o.Audit, quotas: o.Quotas, log: o.logger(),
		sessions: map[*guard]struct{}{}, waits: map[*waiting]struct{}{},
	}
	o.Auth.Observe(g.look)
	return g
}

// visit is one call in the gate. It belongs to the goroutine of the call.
type visit struct {
	// gate is nil at a node that does not authenticate its callers; see witness.
	gate  *gate
	audit *audit.Log
	// who is nil if the credentials were refused, and without a gate.
	who  *auth.Identity
	from entrance
	// verb, key and rule are what was checked last.
	verb auth.Verb
	key  string
	rule string
}

// entrance is where a call comes from.
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
func (g *gate) enter(ctx context.Context, c auth.Credentials, from entrance) (context.Context, *visit, error) {
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

// permit checks what a call needs. onKey is the key of the request, if it has one.
func (v *visit) permit(ctx context.Context, need access, key string) (context.Context, error) {
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

// check checks a verb on a key. The context that it returns carries the caller, as the owner of the
// key is to know it.
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

// check checks a verb on a key for a handler, whose route or method is declared inHandler. Without a
// gate it allows everything.
func (g *gate) check(ctx context.Context, verb auth.Verb, key string) (context.Context, error) {
	v := visitOf(ctx)
	switch {
	case g == nil:
		v.note(verb, key)
		return ctx, nil
	case v == nil:
		return ctx, errNoVisit
	}
	return v.check(ctx, verb, key)
}

// errNoVisit refuses a call that has come past the gate: this is a bug.
var errNoVisit = fmt.Errorf("%w: a call was not authenticated", sharelock.ErrInternal)

// within returns the prefixes below prefix that the caller may read, sorted. all is set if that is
// everything below prefix, which it always is without a gate.
func (g *gate) within(ctx context.Context, prefix string) (list []string, all bool, err error) {
	if g == nil {
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

// mayRead reports whether the caller may read a key, for lists of keys; without a gate it always may.
func mayRead(ctx context.Context, key string) bool {
	v := visitOf(ctx)
	return v == nil || v.gate == nil || v.who.May(auth.Read, key)
}

// wait registers an acquire that is about to wait for a key. The context that it returns ends when
// the caller may not have the key any more. done ends the registration, and returns why the caller
// may not, or nil.
func (g *gate) wait(ctx context.Context, key string) (_ context.Context, done func() error) {
	if g == nil {
		return ctx, stillFine
	}
	v := visitOf(ctx)
	if v == nil {
		return ctx, stillFine
	}
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, g.registerWait(ctx, &waiting{who: v.who, cancel: cancel, again: func(who *auth.Identity) error {
		_, err := who.Check(auth.Acquire, key)
		return err
	}})
}

// registerWait registers a call that goes on for long, in ctx. done ends the registration, and
// returns why the caller may not go on, or nil.
func (g *gate) registerWait(ctx context.Context, w *waiting) (done func() error) {
	g.mu.Lock()
	g.waits[w] = struct{}{}
	g.mu.Unlock()
	return func() error {
		g.mu.Lock()
		delete(g.waits, w)
		g.mu.Unlock()
		defer w.cancel(nil)
		if r, ok := errors.AsType[*revoked](context.Cause(ctx)); ok {
			return r.error
		}
		return nil
	}
}

// stillFine ends a registration that was none.
func stillFine() error { return nil }

// waiting is an acquire that waits, or a watch.
type waiting struct {
	who *auth.Identity
	// again returns why the caller, as it is known now, may not go on, or nil.
	again  func(who *auth.Identity) error
	cancel context.CancelCauseFunc
}

// revoked is why a context of [gate.wait] has ended.
type revoked struct{ error }

// look looks again at what goes on for long: the rules may have changed, and credentials expire.
func (g *gate) look() {
	g.mu.Lock()
	sessions := make([]*guard, 0, len(g.sessions))
	for s := range g.sessions {
		sessions = append(sessions, s)
	}
	waits := make([]*waiting, 0, len(g.waits))
	for w := range g.waits {
		waits = append(waits, w)
	}
	g.mu.Unlock()
	for _, w := range waits {
		who, err := g.auth.Refresh(w.who)
		if err == nil {
			err = w.again(who)
		}
		if err != nil {
			w.cancel(&revoked{err})
		}
	}
	for _, s := range sessions {
		s.look()
	}
}

func (g *gate) register(s *guard) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sessions[s] = struct{}{}
}

func (g *gate) unregister(s *guard) {
	g.mu.Lock()
	delete(g.sessions, s)
	g.mu.Unlock()
	s.leave()
}
