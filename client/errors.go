package client

import "errors"

// The errors of this package; those of the service are in package sharelock.
// Match them with errors.Is.
var (
	// ErrLost: the lock can no longer be trusted. It comes with the reason: no
	// renewal was answered in time, or the error of the renewal that was answered
	// (sharelock.ErrNotHeld or sharelock.ErrStaleToken).
	ErrLost = errors.New("lock is lost")
	// ErrForced: the lock was taken away by ForceRelease. It comes with [ErrLost], and with
	// the reason that was given.
	ErrForced = errors.New("taken away by force")
	// ErrReleased: the lock was given back.
	ErrReleased = errors.New("lock is released")
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("client is closed")
	// ErrUnreachable: no node could be reached, or none could serve, for as long
	// as the call was willing to look. It comes with the last node's answer.
	ErrUnreachable = errors.New("no node can be reached")
)

// errLate is the loss of a lock that was not renewed in time.
var errLate = errors.New("no renewal was answered in time")
