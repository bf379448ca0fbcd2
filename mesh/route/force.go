package route

import (
	"context"
	"errors"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/caller"
	"github.com/sgkandale/sharelock/owner"
)

// ReleaseClient implements api.Locker. Which hold is meant is settled before it is released: a
// request that names no token could, when it must be sent again, release a hold that the same client
// was granted meanwhile (Q2).
func (rt *Router) ReleaseClient(ctx context.Context, key, clientID string) (sharelock.Hold, error) {
	if err := errors.Join(sharelock.CheckKey(key), sharelock.CheckClientID(clientID)); err != nil {
		return sharelock.Hold{}, err
	}
	who := caller.From(ctx)
	l, err := rt.read(ctx, owner.Request{
		Kind: owner.Get, Key: key, ClientID: clientID, Principal: who.Principal, AnyHold: who.AnyHold,
	})
	if errors.Is(err, sharelock.ErrQuarantined) {
		return sharelock.Hold{Key: key, ClientID: clientID}, nil // as a release by token
	}
	if err != nil {
		return sharelock.Hold{}, err
	}
	if h, found := holdOf(l.Holds, clientID, who); found {
		return rt.Release(ctx, key, h.Token, false)
	}
	return sharelock.Hold{}, &sharelock.Error{Err: sharelock.ErrNotHeld, Message: "not held by " + clientID}
}

// holdOf returns the oldest hold of a client that a caller may release: its own rather than one that
// it may release as well.
func holdOf(holds []sharelock.Hold, clientID string, who caller.Caller) (of sharelock.Hold, found bool) {
	for _, h := range holds { // the oldest first
		switch {
		case h.ClientID != clientID:
		case h.Principal == who.Principal:
			return h, true
		case !found && (h.Principal == "" || who.Principal == "" || who.AnyHold):
			of, found = h, true
		}
	}
	return of, found
}

// ForceRelease implements api.Locker. Token 0 stands for the holds that the key has now, see
// ReleaseClient.
func (rt *Router) ForceRelease(ctx context.Context, key string, token sharelock.Token, reason string) ([]sharelock.Hold, error) {
	if err := sharelock.CheckKey(key); err != nil {
		return nil, err
	}
	if token > 1<<63-1 {
		return nil, checkToken(token)
	}
	if len(reason) > sharelock.MaxReasonBytes {
		return nil, sharelock.Invalid("reason", "is too long")
	}
	tokens := []sharelock.Token{token}
	if token == 0 {
		var err error
		if tokens, err = rt.tokensOf(ctx, key); err != nil {
			return nil, err
		}
	}
	var forced []sharelock.Hold
	count, left := 0, sharelock.MaxListedBytes
	for _, t := range tokens {
		h, err := rt.one(ctx, owner.Request{Kind: owner.Force, Key: key, Token: t, ClientID: caller.From(ctx).Name(), Reason: reason})
		if err != nil && (token != 0 || !gone(err)) {
			return forced, err
		}
		if err != nil {
			continue
		}
		count++
		if left -= owner.HoldBytes(&h); len(forced) == 0 || len(forced) < sharelock.MaxListed && left > 0 {
			forced = append(forced, h)
		}
	}
	rt.cfg.Log.Info("lock forced", "key", key, "token", token, "holds", count, "reason", reason, "principal", caller.From(ctx).Principal)
	return forced, nil
}

// tokensOf returns the tokens of all holds of a key, which may be more than one read lists.
func (rt *Router) tokensOf(ctx context.Context, key string) (tokens []sharelock.Token, err error) {
	r := owner.Request{Kind: owner.Get, Key: key}
	for all := 1; len(tokens) < all; {
		l, err := rt.read(ctx, r)
		if err != nil && (len(tokens) == 0 || !gone(err)) {
			return nil, err
		}
		if len(tokens) == 0 {
			all = l.HoldCount // those that come later were not meant
		}
		if len(l.Holds) == 0 {
			break
		}
		for _, h := range l.Holds {
			tokens = append(tokens, h.Token)
		}
		r.Token = tokens[len(tokens)-1]
	}
	if len(tokens) == 0 {
		return nil, &sharelock.Error{Err: sharelock.ErrNotHeld}
	}
	return tokens, nil
}
