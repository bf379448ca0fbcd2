package gate

import (
	"context"
	"errors"

	"github.com/sgkandale/sharelock/internal/auth"
)

// Wait registers an acquire that is about to wait for a key. The context that it returns ends when
// the caller may not have the key any more. done ends the registration, and returns why the caller
// may not, or nil.
func (g *Gate) Wait(ctx context.Context, key string) (_ context.Context, done func() error) {
	if !g.Authenticates() {
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
func (g *Gate) registerWait(ctx context.Context, w *waiting) (done func() error) {
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

// revoked is why a context of [Gate.Wait] has ended.
type revoked struct{ error }

// look looks again at what goes on for long: the rules may have changed, and credentials expire.
func (g *Gate) look() {
	g.mu.Lock()
	sessions := make([]*Guard, 0, len(g.sessions))
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
