package route

import (
	"context"
	"errors"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api"
	"github.com/sgkandale/sharelock/api/halfclosed"
	"github.com/sgkandale/sharelock/api/remote"
	"github.com/sgkandale/sharelock/internal/caller"
	"github.com/sgkandale/sharelock/owner"
)

var _ api.Locker = (*Router)(nil)

// Acquire implements api.Locker.
func (rt *Router) Acquire(ctx context.Context, r sharelock.AcquireRequest) (sharelock.Hold, error) {
	req, err := acquireRequest(rt.limits(), r)
	if err != nil {
		return sharelock.Hold{}, err
	}
	req.Conn, req.Principal = rt.connection(remote.Addr(ctx)), caller.From(ctx).Principal
	// The request begins here: its wait, and the time that its caller may count (Q3), go on while it
	// is held.
	q := rt.newRequest(ctx, req)
	starting := ctx
	if listener := halfclosed.ListensUnder(ctx); listener != nil {
		q.listens, starting = listener.Done(), listener
	}
	rt.cfg.AwaitStart(starting, req.Wait)
	return q.do(ctx)
}

// Renew implements api.Locker.
func (rt *Router) Renew(ctx context.Context, key string, token sharelock.Token, ttl time.Duration, metadata map[string]string) (sharelock.Hold, error) {
	req, err := renewRequest(rt.limits(), key, token, ttl, metadata)
	if err != nil {
		return sharelock.Hold{}, err
	}
	return rt.one(ctx, req)
}

// Release implements api.Locker.
func (rt *Router) Release(ctx context.Context, key string, token sharelock.Token, sentOnce bool) (sharelock.Hold, error) {
	req, err := releaseRequest(key, token, sentOnce)
	if err != nil {
		return sharelock.Hold{}, err
	}
	return rt.one(ctx, req)
}

// GiveUp implements api.Locker.
func (rt *Router) GiveUp(ctx context.Context, key, clientID, requestID string) error {
	req, err := giveUpRequest(key, clientID, requestID)
	if err != nil {
		return err
	}
	req.Conn = rt.connection(remote.Addr(ctx))
	_, err = rt.one(ctx, req)
	return err
}

// one drives a request of the caller of ctx that is answered with one hold.
func (rt *Router) one(ctx context.Context, req owner.Request) (sharelock.Hold, error) {
	who := caller.From(ctx)
	req.Principal, req.AnyHold = who.Principal, who.AnyHold
	q := rt.newRequest(ctx, req) // the time that its caller may count goes on while it is held (Q3)
	rt.cfg.AwaitStart(ctx, rt.cfg.StartPatience)
	return q.do(ctx)
}

// Get implements api.Locker.
func (rt *Router) Get(ctx context.Context, key string) (sharelock.KeyState, error) {
	if err := sharelock.CheckKey(key); err != nil {
		return sharelock.KeyState{}, err
	}
	return rt.read(ctx, owner.Request{Kind: owner.Get, Key: key})
}

// read drives a request that is answered with the state of its key.
func (rt *Router) read(ctx context.Context, req owner.Request) (sharelock.KeyState, error) {
	rt.cfg.AwaitStart(ctx, rt.cfg.StartPatience)
	a, err := rt.newRequest(ctx, req).await(ctx)
	if err != nil {
		return sharelock.KeyState{}, err
	}
	return *a.Lock, nil
}

// CheckToken implements api.Locker.
func (rt *Router) CheckToken(ctx context.Context, key string, token sharelock.Token) (sharelock.TokenCheck, error) {
	if err := errors.Join(sharelock.CheckKey(key), checkToken(token)); err != nil {
		return sharelock.TokenCheck{}, err
	}
	rt.cfg.AwaitStart(ctx, rt.cfg.StartPatience)
	a, err := rt.newRequest(ctx, owner.Request{Kind: owner.Check, Key: key, Token: token}).await(ctx)
	if err != nil {
		return sharelock.TokenCheck{}, err
	}
	return sharelock.TokenCheck{
		Current: a.Current, Holds: a.Lock.Holds, HoldCount: a.Lock.HoldCount, WaiterCount: a.Lock.WaiterCount,
	}, nil
}
