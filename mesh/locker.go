package mesh

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

var _ api.Node = (*Node)(nil)

// limits are what requests to this node are checked against. MaxTTL is the
// cluster's, whatever the file says.
func (n *Node) limits() sharelock.Limits {
	l := sharelock.Limits{DefaultTTL: n.cfg.DefaultTTL, MaxTTL: n.cfg.MaxTTL, DefaultWait: n.cfg.DefaultWait, MaxWait: n.cfg.MaxWait}
	if a := n.views.Now(); a != nil {
		l.MaxTTL = a.Constants().MaxTTL()
		l.DefaultTTL = min(l.DefaultTTL, l.MaxTTL)
	}
	return l
}

// Acquire implements api.Locker.
func (n *Node) Acquire(ctx context.Context, r sharelock.AcquireRequest) (sharelock.Hold, error) {
	req, err := acquireRequest(n.limits(), r)
	if err != nil {
		return sharelock.Hold{}, err
	}
	req.Conn = n.connection(api.RemoteOf(ctx))
	// The call begins here: its wait, and the time that its caller may count (Q3), go on while
	// it is held.
	a := &acquire{call: newCall(n, req), wait: req.Wait}
	starting := ctx
	if caller := api.ListensUnder(ctx); caller != nil {
		a.listens, starting = caller.Done(), caller
	}
	n.awaitStart(starting, req.Wait)
	return a.finish(ctx)
}

func acquireRequest(limits sharelock.Limits, r sharelock.AcquireRequest) (owner.Request, error) {
	if err := limits.Check(&r); err != nil {
		return owner.Request{}, err
	}
	req := owner.Request{
		Kind: owner.Acquire, Key: r.Key, ClientID: r.ClientID, RequestID: r.RequestID, OwnID: r.RequestID != "",
		TTL: r.TTL, Wait: r.Wait, Mode: r.Mode, Slots: r.Slots, Metadata: r.Metadata, MaxHold: r.MaxHold,
	}
	if !req.OwnID {
		req.RequestID = newRequestID()
	}
	return req, nil
}

// newRequestID makes an id for a caller that made none.
func newRequestID() string {
	var b [12]byte
	rand.Read(b[:]) //nolint:errcheck // never fails, see crypto/rand
	return "n-" + hex.EncodeToString(b[:])
}

func (n *Node) one(ctx context.Context, r owner.Request) (sharelock.Hold, error) {
	c := newCall(n, r) // the time that its caller may count goes on while it is held (Q3)
	n.awaitStart(ctx, n.startPatience())
	return c.one(c.do(ctx))
}

// one makes the caller's answer of a request that is answered with one hold. A
// release that had to be sent again may find its own work done: that is success
// (Q2).
func (c *call) one(a owner.Answer, err error) (sharelock.Hold, error) {
	r := &c.req
	if err != nil {
		again := c.lastSend() > 1 && (r.Kind == owner.Release || r.Kind == owner.Force)
		if again && gone(err) {
			return sharelock.Hold{Key: r.Key, Token: r.Token}, nil
		}
		return sharelock.Hold{}, err
	}
	if r.Kind == owner.Cancel {
		return sharelock.Hold{}, nil
	}
	h := a.Holds[0]
	if r.Kind == owner.Renew {
		c.safe(&h)
	}
	return h, nil
}

// safe completes the hold that answers the last send for the caller, who counts from when its
// request came: what had passed here when that send left, and then the TTL, or what is left
// of the hold's longest time (Q3).
func (c *call) safe(h *sharelock.Hold) {
	h.SafeFor = h.TTL
	after := c.sentAfter(c.lastSend())
	if h.EndsIn > 0 {
		h.SafeFor = min(h.SafeFor, h.EndsIn)
		h.EndsIn += after
	}
	h.SafeFor += after
}

func checkToken(t sharelock.Token) error {
	switch {
	case t == 0:
		return sharelock.Invalid("token", "must not be zero")
	case t > 1<<63-1:
		return sharelock.Invalid("token", "is larger than any token")
	}
	return nil
}

// Renew implements api.Locker.
func (n *Node) Renew(ctx context.Context, key string, token sharelock.Token, ttl time.Duration, metadata map[string]string) (sharelock.Hold, error) {
	r, err := renewRequest(n.limits(), key, token, ttl, metadata)
	if err != nil {
		return sharelock.Hold{}, err
	}
	return n.one(ctx, r)
}

func renewRequest(limits sharelock.Limits, key string, token sharelock.Token, ttl time.Duration, metadata map[string]string) (owner.Request, error) {
	if err := errors.Join(sharelock.CheckKey(key), checkToken(token)); err != nil {
		return owner.Request{}, err
	}
	if ttl != 0 {
		if err := limits.CheckTTL(ttl); err != nil {
			return owner.Request{}, err
		}
	}
	if err := sharelock.CheckMetadata(metadata); err != nil {
		return owner.Request{}, err
	}
	return owner.Request{Kind: owner.Renew, Key: key, Token: token, TTL: ttl, Metadata: metadata}, nil
}

// Release implements api.Locker.
func (n *Node) Release(ctx context.Context, key string, token sharelock.Token, sentOnce bool) (sharelock.Hold, error) {
	r, err := releaseRequest(key, token, sentOnce)
	if err != nil {
		return sharelock.Hold{}, err
	}
	return n.one(ctx, r)
}

func releaseRequest(key string, token sharelock.Token, sentOnce bool) (owner.Request, error) {
	if err := errors.Join(sharelock.CheckKey(key), checkToken(token)); err != nil {
		return owner.Request{}, err
	}
	return owner.Request{Kind: owner.Release, Key: key, Token: token, SentOnce: sentOnce}, nil
}

// GiveUp implements api.Locker.
func (n *Node) GiveUp(ctx context.Context, key, clientID, requestID string) error {
	r, err := giveUpRequest(key, clientID, requestID)
	if err != nil {
		return err
	}
	r.Conn = n.connection(api.RemoteOf(ctx))
	_, err = n.one(ctx, r)
	return err
}

func giveUpRequest(key, clientID, requestID string) (owner.Request, error) {
	if err := errors.Join(sharelock.CheckKey(key), sharelock.CheckClientID(clientID), sharelock.CheckRequestID(requestID)); err != nil {
		return owner.Request{}, err
	}
	if requestID == "" {
		return owner.Request{}, sharelock.Invalid("request_id", "must not be empty")
	}
	return owner.Request{Kind: owner.Cancel, Key: key, ClientID: clientID, RequestID: requestID, Drop: true}, nil
}

// ReleaseClient implements api.Locker. Which hold is meant is settled before it is
// released: a request that names no token could, when it must be sent again,
// release a hold that the same client was granted meanwhile (Q2).
func (n *Node) ReleaseClient(ctx context.Context, key, clientID string) (sharelock.Hold, error) {
	if err := errors.Join(sharelock.CheckKey(key), sharelock.CheckClientID(clientID)); err != nil {
		return sharelock.Hold{}, err
	}
	l, err := n.read(ctx, owner.Request{Kind: owner.Get, Key: key, ClientID: clientID})
	if errors.Is(err, sharelock.ErrQuarantined) {
		return sharelock.Hold{Key: key, ClientID: clientID}, nil // as a release by token
	}
	if err != nil {
		return sharelock.Hold{}, err
	}
	for _, h := range l.Holds { // the oldest first
		if h.ClientID == clientID {
			return n.Release(ctx, key, h.Token, false)
		}
	}
	return sharelock.Hold{}, &sharelock.Error{Err: sharelock.ErrNotHeld, Message: "not held by " + clientID}
}

// ForceRelease implements api.Locker. Token 0 stands for the holds that the key
// has now, see ReleaseClient.
func (n *Node) ForceRelease(ctx context.Context, key string, token sharelock.Token, reason string) ([]sharelock.Hold, error) {
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
		if tokens, err = n.tokensOf(ctx, key); err != nil {
			return nil, err
		}
	}
	var forced []sharelock.Hold
	count, left := 0, sharelock.MaxListedBytes
	for _, t := range tokens {
		h, err := n.one(ctx, owner.Request{Kind: owner.Force, Key: key, Token: t, Reason: reason})
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
	n.log.Info("lock forced", "key", key, "token", token, "holds", count, "reason", reason)
	return forced, nil
}

// tokensOf returns the tokens of all holds of a key, which may be more than one read lists.
func (n *Node) tokensOf(ctx context.Context, key string) (tokens []sharelock.Token, err error) {
	r := owner.Request{Kind: owner.Get, Key: key}
	for all := 1; len(tokens) < all; {
		l, err := n.read(ctx, r)
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

// gone: the token is no grant (any more).
func gone(err error) bool {
	return errors.Is(err, sharelock.ErrNotHeld) || errors.Is(err, sharelock.ErrStaleToken)
}

// Get implements api.Locker.
func (n *Node) Get(ctx context.Context, key string) (sharelock.KeyState, error) {
	if err := sharelock.CheckKey(key); err != nil {
		return sharelock.KeyState{}, err
	}
	return n.read(ctx, owner.Request{Kind: owner.Get, Key: key})
}

func (n *Node) read(ctx context.Context, r owner.Request) (sharelock.KeyState, error) {
	n.awaitStart(ctx, n.startPatience())
	a, err := newCall(n, r).do(ctx)
	if err != nil {
		return sharelock.KeyState{}, err
	}
	return *a.Lock, nil
}

// CheckToken implements api.Locker.
func (n *Node) CheckToken(ctx context.Context, key string, token sharelock.Token) (sharelock.TokenCheck, error) {
	if err := errors.Join(sharelock.CheckKey(key), checkToken(token)); err != nil {
		return sharelock.TokenCheck{}, err
	}
	n.awaitStart(ctx, n.startPatience())
	a, err := newCall(n, owner.Request{Kind: owner.Check, Key: key, Token: token}).do(ctx)
	if err != nil {
		return sharelock.TokenCheck{}, err
	}
	return sharelock.TokenCheck{
		Current: a.Current, Holds: a.Lock.Holds, HoldCount: a.Lock.HoldCount, WaiterCount: a.Lock.WaiterCount,
	}, nil
}

// List implements api.Locker: it asks every owner and merges. A change of view in
// the middle starts it again (Q1), so that a page never passes over keys.
func (n *Node) List(ctx context.Context, r sharelock.ListRequest) (sharelock.ListPage, error) {
	if err := checkList(&r); err != nil {
		return sharelock.ListPage{}, err
	}
	n.awaitStart(ctx, n.startPatience())
	c := newCall(n, owner.Request{}) // for its patience only
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		changed := n.views.Changed()
		if err := n.member.ready(); err != nil {
			return sharelock.ListPage{}, err
		}
		parts, err := n.listAll(ctx, n.views.Now(), r)
		if err == nil {
			return merge(parts, r.PageSize), nil
		}
		if err := c.pause(ctx, limit.C, changed); err != nil {
			return sharelock.ListPage{}, err
		}
	}
}

func checkList(r *sharelock.ListRequest) error {
	switch {
	case len(r.Prefix) > sharelock.MaxKeyBytes:
		return sharelock.Invalid("prefix", "is longer than any key")
	case len(r.ClientID) > sharelock.MaxClientIDBytes:
		return sharelock.Invalid("client_id", "is longer than any client id")
	case r.PageSize < 0 || r.PageSize > sharelock.MaxPageSize:
		return sharelock.Invalid("page_size", "must be 0 to 1000")
	}
	if r.PageSize == 0 {
		r.PageSize = sharelock.DefaultPageSize
	}
	after, err := hex.DecodeString(r.PageToken)
	if err != nil || len(after) > sharelock.MaxKeyBytes {
		return sharelock.Invalid("page_token", "is not the token of a page")
	}
	r.PageToken = string(after)
	return nil
}

// listAll reads every owner's part.
func (n *Node) listAll(ctx context.Context, a *epoch.View, r sharelock.ListRequest) ([]owner.Listing, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := make([]owner.Listing, len(a.Members))
	errs := make([]error, len(a.Members))
	var wg sync.WaitGroup
	for i, m := range a.Members {
		wg.Go(func() {
			if parts[i], errs[i] = n.listOf(ctx, a, m, r); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return parts, errors.Join(errs...)
}

func (n *Node) listOf(ctx context.Context, a *epoch.View, m ring.Member, r sharelock.ListRequest) (owner.Listing, error) {
	if m.Identity == n.self {
		return a.Service.List(ctx, a.Epoch, r.Prefix, r.ClientID, r.PageToken, r.PageSize)
	}
	return n.peers.List(ctx, m, a.Epoch, r)
}

// merge makes a page of the owners' parts. Where a part was cut off, nothing is
// known of later keys, so the page ends there.
func merge(parts []owner.Listing, size int) sharelock.ListPage {
	all := owner.Listing{}
	end, cut := "", false
	for _, p := range parts {
		all.Locks = append(all.Locks, p.Locks...)
		all.Quarantined += p.Quarantined
		if n := len(p.Locks); p.More && n > 0 && (!cut || p.Locks[n-1].Key < end) {
			end, cut = p.Locks[n-1].Key, true
		}
	}
	if cut {
		all.Locks = slices.DeleteFunc(all.Locks, func(l sharelock.KeyState) bool { return l.Key > end })
	}
	all.Cut(size)
	page := sharelock.ListPage{Locks: all.Locks, Quarantined: all.Quarantined}
	if n := len(all.Locks); n > 0 && (all.More || cut) {
		page.NextPageToken = hex.EncodeToString([]byte(all.Locks[n-1].Key))
	}
	return page
}
