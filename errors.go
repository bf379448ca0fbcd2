package sharelock

import (
	"errors"
	"time"
)

// The errors that users see, one for each reason of the wire table. They come
// wrapped, mostly in an [*Error] with details: match them with [errors.Is].
var (
	// ErrInvalidArgument: a field is malformed or out of its limits.
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrUnauthenticated: the caller did not say who it is.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrPermissionDenied: the caller may not do this.
	ErrPermissionDenied = errors.New("permission denied")
	// ErrLockHeld: the lock was not obtained within the wait.
	ErrLockHeld = errors.New("lock is held")
	// ErrNotHeld: a release, renewal or get of a key that nobody holds.
	ErrNotHeld = errors.New("lock is not held")
	// ErrStaleToken: the token is not, or no longer, a grant of this key.
	ErrStaleToken = errors.New("token is stale")
	// ErrModeConflict: the key is in use with other slots.
	ErrModeConflict = errors.New("key is in use with another mode")
	// ErrRequestOver: the request id was granted or given up before and has
	// ended (rule Q2); a new acquire needs a new id.
	ErrRequestOver = errors.New("request id is over")
	// ErrTooManyWaiters: the key's queue is full.
	ErrTooManyWaiters = errors.New("too many waiters")
	// ErrQuota: a limit on the number of locks is reached.
	ErrQuota = errors.New("quota exceeded")
	// ErrNoQuorum: this node is cut off from the majority (rule Q4).
	ErrNoQuorum = errors.New("no quorum")
	// ErrNotReady: this node is not in a view yet, or the key is between two
	// owners and the wait was over before it had the new one.
	ErrNotReady = errors.New("not ready")
	// ErrQuarantined: the key's state was lost and earlier locks have not yet
	// run out (section 4.3).
	ErrQuarantined = errors.New("quarantined")
	// ErrMessageTooLarge: a request is larger than the limits allow.
	ErrMessageTooLarge = errors.New("message is too large")
	// ErrWrongPort: gRPC was spoken to a port that is not a node's gRPC port; the message
	// says what it is.
	ErrWrongPort = errors.New("wrong port")
	// ErrInternal: a bug; the message says what was seen.
	ErrInternal = errors.New("internal error")
)

// Error is one of the errors above with its details.
type Error struct {
	// Err is the sentinel that errors.Is matches.
	Err error
	// Message is for people. It may be empty.
	Message string
	// Field names the request's field in ErrInvalidArgument.
	Field string
	// Holds are the holders in ErrLockHeld, as the owner saw them.
	Holds []Hold
	// Queue is how many wait for the key in ErrLockHeld.
	Queue int
	// RetryAfter is a hint in errors that pass by themselves; 0 is none.
	RetryAfter time.Duration
}

// Error is the sentinel's text, the field and the message.
func (e *Error) Error() string {
	s := e.Err.Error()
	if e.Field != "" {
		s += ": " + e.Field
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Unwrap is the sentinel.
func (e *Error) Unwrap() error { return e.Err }

// Invalid makes an ErrInvalidArgument that names a field.
func Invalid(field, message string) error {
	return &Error{Err: ErrInvalidArgument, Field: field, Message: message}
}
