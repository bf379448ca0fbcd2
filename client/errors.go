package client

import "errors"

// The errors of this package; those of the service are in package sharelock.
// Match them with errors.Is.
var (
	// ErrLost means that the lock can no longer be trusted. It is wrapped together with the
	// reason: no renewal was answered in time, which wraps sharelock.ErrUnauthenticated or
	// sharelock.ErrPermissionDenied if the nodes have refused renewals until then; or the error
	// that answered a renewal (sharelock.ErrNotHeld or sharelock.ErrStaleToken). An Acquire fails with it if the lock
	// was granted, but each time its TTL was over before the answer came: the TTL is shorter
	// than a round trip to the key's owner.
	ErrLost = errors.New("lock is lost")
	// ErrMaxHold: the lock was held for as long as it may be, see [MaxHold]; no renewal could
	// have kept it. It comes with [ErrLost].
	ErrMaxHold = errors.New("held for the maximum time")
	// ErrForced: the lock was taken away by ForceRelease. It comes with [ErrLost], and with
	// the reason that was given.
	ErrForced = errors.New("taken by force")
	// ErrReleased means that the lock was released.
	ErrReleased = errors.New("lock is released")
	// ErrClosed means that the client was closed.
	ErrClosed = errors.New("client is closed")
	// ErrUnreachable: no node could be reached, or none could serve, for as long
	// as the call was willing to look. It comes with the last node's answer.
	ErrUnreachable = errors.New("no node can be reached")
)

// errLate is the loss of a lock that was not renewed in time.
var errLate = errors.New("no renewal was answered in time")

// errTooSlow says of an acquire that each grant had run out before its answer came.
var errTooSlow error = tooSlow{}

type tooSlow struct{}

// Error implements error.
func (tooSlow) Error() string { return "answers take longer than the lock's TTL" }

// Is makes it an [ErrLost].
func (tooSlow) Is(target error) bool { return target == ErrLost }
