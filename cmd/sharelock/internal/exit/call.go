package exit

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

// OfCall returns the error of a client call with its exit code.
func OfCall(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	code := Failed
	switch {
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, sharelock.ErrWrongPort), errors.Is(err, client.ErrLost),
		errors.Is(err, sharelock.ErrNoQuorum), errors.Is(err, sharelock.ErrNotReady), errors.Is(err, sharelock.ErrQuarantined):
		code = Unreachable
	case errors.Is(err, sharelock.ErrInvalidArgument):
		code = Usage
	}
	if i, ok := errors.AsType[Interrupted](err); ok {
		return &Error{Code: Signal + int(i.Sig), By: i.Sig}
	}
	if e, ok := errors.AsType[*sharelock.Error](err); ok && errors.Is(e.Err, sharelock.ErrLockHeld) {
		err = fmt.Errorf("%w%s", err, holders(e))
	}
	return &Error{Code: code, Err: CannotServe(err)}
}

// CannotServe rewords an error if a node was reached and answered that it cannot serve. The
// client counts such a node as unreachable; a user would not.
func CannotServe(err error) error {
	e, ok := errors.AsType[*sharelock.Error](err)
	if ok && (errors.Is(e.Err, sharelock.ErrNoQuorum) || errors.Is(e.Err, sharelock.ErrNotReady) || errors.Is(e.Err, sharelock.ErrQuarantined)) {
		return fmt.Errorf("the mesh cannot serve: %w", e)
	}
	return err
}

// NotObtained changes the exit code of an error of OfCall if others hold the lock.
func NotObtained(err error, code int) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != Failed || !errors.Is(e.Err, sharelock.ErrLockHeld) {
		return err
	}
	return &Error{Code: code, Err: e.Err}
}

// holders returns the holders of the key as text, at most three of them by name.
func holders(e *sharelock.Error) string {
	if len(e.Holds) == 0 {
		return ""
	}
	names := make([]string, 0, 3)
	for i, h := range e.Holds {
		if i == 3 {
			names = append(names, fmt.Sprintf("%d more", len(e.Holds)-i))
			break
		}
		names = append(names, fmt.Sprintf("%s with token %v for %s", text.Printable(h.ClientID), h.Token, text.Short(h.ExpiresIn)))
	}
	return fmt.Sprintf(", by %s; %d waiting", strings.Join(names, ", "), e.Queue)
}
