package gate

import (
	"context"
	"errors"

	"github.com/sgkandale/sharelock/internal/auth"
)

// Wait registers an acquire that is about to wait for a key. The returned context ends when the caller
// may no longer have the key. done ends the registration, and returns why the caller may not have the
// key, or nil.
func (g *Gate) Wait(ctx context.Context, key string) (_ context.Context, done func() error) {
	if !g.Authenticates() {
		return ctx, stillFine
	}
	v := visitOf(ctx)
	if v == nil {
		return ctx, stillFine
	}
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, g.registerWait(ctx, g.waits, &waiting{who: v.who, cancel: cancel, again: func(who *auth.Identity) error {
		_, err := who.Check(auth.Acquire, key)
		return err
	}})
}

// registerWait registers a long call, which runs in ctx, in a set that mu guards. done ends the
// registration, and returns why the caller may not continue, or nil.
func (g *Gate) registerWait(ctx context.Context, in map[*waiting]struct{}, w *waiting) (done func() error) {
	g.mu.Lock()
	in[w] = struct{}{}
	g.mu.Unlock()
	return func() error {
		g.mu.Lock()
		delete(in, w)
		g.mu.Unlock()
		defer w.cancel(nil)
		if r, ok := errors.AsType[*revoked](context.Cause(ctx)); ok {
			return r.error
		}
		return nil
	}
}

// stillFine is the done of a call that was not registered.
func stillFine() error { return nil }

// waiting is an acquire that waits, or a watch.
type waiting struct {
	who *auth.Identity
	// again returns why the caller, with its present rights, may not continue, or nil.
	again  func(who *auth.Identity) error
	cancel context.CancelCauseFunc
}

// look cancels the call if its caller, as it is known now, may not continue. err is why it is not known.
func (w *waiting) look(who *auth.Identity, err error) {
	if err == nil {
		err = w.again(who)
	}
	if err != nil {
		w.cancel(&revoked{err})
	}
}

// revoked is the cause with which a context of [Gate.Wait] ends.
type revoked struct{ error }

// look checks all long calls again, because the rules may have changed and credentials may have expired.
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
		w.look(g.auth.Refresh(w.who))
	}
	for _, s := range sessions {
		s.look()
	}
}
