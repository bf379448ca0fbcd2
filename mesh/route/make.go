package route

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/owner"
)

// The functions of this file check what a caller asks for and make the owner's request of it.

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

func releaseRequest(key string, token sharelock.Token, sentOnce bool) (owner.Request, error) {
	if err := errors.Join(sharelock.CheckKey(key), checkToken(token)); err != nil {
		return owner.Request{}, err
	}
	return owner.Request{Kind: owner.Release, Key: key, Token: token, SentOnce: sentOnce}, nil
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

func checkToken(t sharelock.Token) error {
	switch {
	case t == 0:
		return sharelock.Invalid("token", "must not be zero")
	case t > 1<<63-1:
		return sharelock.Invalid("token", "is larger than any token")
	}
	return nil
}

// kindOf returns the kind of the owner's request of a call.
func kindOf(kind sessionwire.CallKind) owner.Kind {
	switch kind {
	case sessionwire.CallAcquire:
		return owner.Acquire
	case sessionwire.CallGiveUp:
		return owner.Cancel
	case sessionwire.CallRenew:
		return owner.Renew
	default:
		return owner.Release
	}
}

// callRequest makes the owner's request of a call.
func callRequest(limits sharelock.Limits, c *sessionwire.Call) (owner.Request, error) {
	if c.Err != nil {
		return owner.Request{}, c.Err
	}
	switch c.Kind {
	case sessionwire.CallAcquire:
		r, err := acquireRequest(limits, c.AcquireRequest)
		r.Tell = c.Tell
		return r, err
	case sessionwire.CallGiveUp:
		return giveUpRequest(c.Key, c.ClientID, c.RequestID)
	case sessionwire.CallRenew:
		return renewRequest(limits, c.Key, c.Token, c.TTL, c.Metadata)
	default:
		return releaseRequest(c.Key, c.Token, c.SentOnce)
	}
}
