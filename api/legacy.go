package api

import (
	"context"
	"errors"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/gate"
	original "github.com/sgkandale/sharelock/proto/sharelock"
)

// pong is the original API's answer to every ping.
const pong = "pong"

// legacy implements sharelock.ShareLockService, the original API, in front of a Locker. Its
// outcomes are statuses in successful answers. Conditions for which the original has no status are
// errors of package sharelock.
type legacy struct {
	original.UnimplementedShareLockServiceServer
	node    Locker
	maxWait time.Duration
	gate    *gate.Gate // may be nil
}

func (s *legacy) Ping(context.Context, *original.ShareLockPingRequest) (*original.ShareLockPingResponse, error) {
	return &original.ShareLockPingResponse{Message: pong}, nil
}

func (s *legacy) Lock(ctx context.Context, m *original.LockRequest) (*original.LockResponse, error) {
	if err := sharelock.CheckKey(m.GetKey()); err != nil {
		return nil, err
	}
	st, _, err := s.lock(ctx, m.GetKey(), clientIDFromMetadata(ctx), m.GetTimeoutMs())
	return &original.LockResponse{Status: st}, err
}

func (s *legacy) Unlock(ctx context.Context, m *original.UnlockRequest) (*original.UnlockResponse, error) {
	if err := sharelock.CheckKey(m.GetKey()); err != nil {
		return nil, err
	}
	st, err := s.unlock(ctx, m.GetKey(), clientIDFromMetadata(ctx))
	return &original.UnlockResponse{Status: st}, err
}

// lock acquires the key for the default TTL. The node makes the request id: clients of the original
// API cannot repeat a request, so when a client disconnects, its place in the queue or its grant is
// released.
func (s *legacy) lock(ctx context.Context, key, clientID string, timeoutMs int32) (original.Status, sharelock.Hold, error) {
	if sharelock.CheckKey(key) != nil || sharelock.CheckClientID(clientID) != nil {
		return original.Status_InvalidData, sharelock.Hold{}, nil //nolint:nilerr // the status is the answer
	}
	wait := sharelock.DefaultWait
	if timeoutMs > 0 {
		wait = time.Duration(timeoutMs) * time.Millisecond
		if s.maxWait > 0 {
			wait = min(wait, s.maxWait)
		}
	}
	allowed, done := s.gate.Wait(ctx, key) // allowed ends with done
	hold, err := s.node.Acquire(allowed, sharelock.AcquireRequest{Key: key, ClientID: clientID, Wait: wait})
	hold, err = stillAllowed(s.node, hold, err, done(), false)
	if gone := ctx.Err(); err == nil && gone != nil {
		takeBack(s.node, hold)
		err = gone
	}
	switch {
	case err == nil:
		return original.Status_Acquired, hold, nil
	case errors.Is(err, sharelock.ErrLockHeld):
		return original.Status_Timeout, hold, nil
	default:
		return original.Status_NotAcquired, hold, err
	}
}

// unlock releases the key if this client holds it.
func (s *legacy) unlock(ctx context.Context, key, clientID string) (original.Status, error) {
	if sharelock.CheckKey(key) != nil || sharelock.CheckClientID(clientID) != nil {
		return original.Status_InvalidData, nil //nolint:nilerr // the status is the answer
	}
	_, err := s.node.ReleaseClient(ctx, key, clientID)
	switch {
	case err == nil:
		return original.Status_Released, nil
	case errors.Is(err, sharelock.ErrNotHeld), errors.Is(err, sharelock.ErrStaleToken):
		return original.Status_UnknownLock, nil
	default:
		return original.Status_Unknown, err
	}
}
