package api

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/sgkandale/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc/codes"
)

// errPanic marks the error of a recovered panic, which is in the log already.
var errPanic = fmt.Errorf("%w: a panic, see the node's log", sharelock.ErrInternal)

// panicked logs a recovered panic with its stack, and returns the error for the caller, which does
// not contain them.
func panicked(log *slog.Logger, call string, p any) error {
	log.Error("panic in a handler", "call", call, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return errPanic
}

// logInternal logs an error that is answered as INTERNAL.
func logInternal(log *slog.Logger, call string, err error) {
	if pb.ToStatus(err).Code() == codes.Internal && !errors.Is(err, errPanic) {
		log.Error("internal error", "call", call, "err", err)
	}
}
