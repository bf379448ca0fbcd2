package sharelock

import (
	"errors"
	"time"
)

// The errors that users see, one for each reason on the wire. They are wrapped, usually in an
// [*Error] with details. Match them with [errors.Is].
var (
	// ErrInvalidArgument: a field is malformed or outside its limits.
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrUnauthenticated: the caller did not identify itself.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrPermissionDenied: the caller may not do this.
	ErrPermissionDenied = errors.New("permission denied")
	// ErrLockHeld: the lock was not obtained within the wait.
	ErrLockHeld = errors.New("lock is held")
	// ErrNotHeld: nobody holds the key of a release, renewal or get.
	ErrNotHeld = errors.New("lock is not held")
	// ErrStaleToken: the token is not, or no longer, a grant of the key.
	ErrStaleToken = errors.New("token is stale")
	// ErrModeConflict: the key is in use with a different number of slots.
	ErrModeConflict = errors.New("key is in use with another mode")
	// ErrRequestOver: the lock or the wait of this request id has ended (rule Q2); a new
	// acquire needs a new id.
	ErrRequestOver = errors.New("request id is over")
	// ErrTooManyWaiters: the key's queue is full.
	ErrTooManyWaiters = errors.New("too many waiters")
	// ErrQuota: a limit on the number or the size of locks is reached; the message says which.
	ErrQuota = errors.New("quota exceeded")
	// ErrNoQuorum: this node is cut off from the majority (rule Q4).
	ErrNoQuorum = errors.New("no quorum")
	// ErrNotReady: this node is not in a view yet, or the key was moving to a new owner and
	// the wait ended before the move did.
	ErrNotReady = errors.New("not ready")
	// ErrQuarantined: the key's state was lost, and locks granted before may still be held
	// (step 3 of an activation).
	ErrQuarantined = errors.New("quarantined")
	// ErrNotConfirmed: some members did not confirm a change for all members; the message names
	// them. The change can be repeated.
	ErrNotConfirmed = errors.New("not confirmed by all members")
	// ErrMessageTooLarge: a request is larger than the limits allow.
	ErrMessageTooLarge = errors.New("message is too large")
	// ErrWrongPort: a gRPC request was sent to a port that is not a node's gRPC port; the
	// message says what the port is.
	ErrWrongPort = errors.New("wrong port")
	// ErrInternal: a bug in ShareLock; the message says what was observed.
	ErrInternal = errors.New("internal error")
)

// Error is one of the errors above with its details.
type Error struct {
	// Err is the sentinel error that errors.Is matches.
	Err error
	// Message is a text for people. It may be empty.
	Message string
	// Field is the name of the invalid field in an ErrInvalidArgument.
	Field string
	// Holds lists the holders of the key in an ErrLockHeld, at most MaxHolders.
	Holds []Hold
	// Queue is the number of waiters of the key in an ErrLockHeld.
	Queue int
	// RetryAfter is a hint when to retry, in errors that are temporary; 0 means no hint.
	RetryAfter time.Duration
}

// Error returns the text of the sentinel error, the field and the message.
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

// Unwrap returns the sentinel error.
func (e *Error) Unwrap() error { return e.Err }

// Invalid returns an ErrInvalidArgument that names a field.
func Invalid(field, message string) error {
	return &Error{Err: ErrInvalidArgument, Field: field, Message: message}
}
