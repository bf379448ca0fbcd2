package mesh

import (
	"errors"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
)

// Flags of a call between members.
const (
	flagOwnID = 1 << iota
	flagSentOnce
	flagDrop
	flagTell
	// flagMetadata: a renewal has metadata, which may be empty.
	flagMetadata
)

// flagCurrent, in an answer's outcome, is the answer to a check.
const flagCurrent = 1 << 8

// callFlags are the bits of a request that are one.
func callFlags(r *owner.Request) (flags uint32) {
	if r.OwnID {
		flags |= flagOwnID
	}
	if r.SentOnce {
		flags |= flagSentOnce
	}
	if r.Drop {
		flags |= flagDrop
	}
	if r.Tell {
		flags |= flagTell
	}
	if r.Kind == owner.Renew && r.Metadata != nil {
		flags |= flagMetadata
	}
	return flags
}

func setCallFlags(r *owner.Request, flags uint32) {
	r.OwnID, r.SentOnce, r.Drop = flags&flagOwnID != 0, flags&flagSentOnce != 0, flags&flagDrop != 0
	r.Tell = flags&flagTell != 0
	if flags&flagMetadata != 0 && r.Metadata == nil {
		r.Metadata = map[string]string{}
	}
}

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
