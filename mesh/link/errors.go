package link

import (
	"errors"

	"github.com/sgkandale/sharelock"
)

// errorNumbers are the errors that owners answer with. The position is on the
// wire, from 1: append only.
var errorNumbers = []error{
	sharelock.ErrInternal,
	sharelock.ErrInvalidArgument,
	sharelock.ErrLockHeld,
	sharelock.ErrNotHeld,
	sharelock.ErrStaleToken,
	sharelock.ErrModeConflict,
	sharelock.ErrRequestOver,
	sharelock.ErrTooManyWaiters,
	sharelock.ErrQuota,
	sharelock.ErrNoQuorum,
	sharelock.ErrNotReady,
	sharelock.ErrQuarantined,
	sharelock.ErrMessageTooLarge,
	sharelock.ErrPermissionDenied, // release 2
}

// described is an error as it travels.
type described struct {
	number uint32
	sharelock.Error
}

func describe(err error) described {
	d := described{number: 1, Error: sharelock.Error{Message: err.Error()}}
	for i, e := range errorNumbers {
		if errors.Is(err, e) {
			d.number = uint32(i + 1)
		}
	}
	if detail, ok := errors.AsType[*sharelock.Error](err); ok {
		d.Error = *detail
	}
	return d
}

// errorOf is the error with a number.
func errorOf(number uint32) error {
	if number > 0 && int(number) <= len(errorNumbers) {
		return errorNumbers[number-1]
	}
	return sharelock.ErrInternal
}
