package exit

import (
	"fmt"
	"os"
	"syscall"
)

// The exit codes.
const (
	OK          = 0
	Failed      = 1
	Usage       = 64  // EX_USAGE
	Unreachable = 69  // EX_UNAVAILABLE
	Lost        = 75  // EX_TEMPFAIL
	CannotRun   = 126 // as in shells
	NotFound    = 127
	Signal      = 128 // plus the number of the signal
)

// Error is an error that ends the process with a code. If Err is not nil, it is printed in one
// line on stderr.
type Error struct {
	Code int
	Err  error
	// By is the signal that ends the process, if possible, so that its parent sees the
	// signal and not only the code. It is 0 if there is none.
	By syscall.Signal
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit %d", e.Code)
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Usagef returns the error of a command that was called in a wrong way.
func Usagef(format string, args ...any) error {
	return &Error{Code: Usage, Err: fmt.Errorf(format, args...)}
}

// Failure returns the error of a command that has failed because of err.
func Failure(err error) error { return &Error{Code: Failed, Err: err} }

// Interrupted is the cause of a context that a signal has canceled.
type Interrupted struct{ Sig syscall.Signal }

func (i Interrupted) Error() string { return i.Sig.String() }

// Number returns the number of a signal, or 0 if the system has no numbers for signals.
func Number(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return int(n)
	}
	return 0
}
