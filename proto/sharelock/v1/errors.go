package sharelockv1

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
)

// ErrorDomain is the domain of the google.rpc.ErrorInfo in every error of ShareLock.
const ErrorDomain = "sharelock"

// Two errors that only HTTP needs: over gRPC, grpc-go answers an unknown method with
// UNIMPLEMENTED itself.
var (
	// ErrNoRoute: there is no such path.
	ErrNoRoute = errors.New("no such path")
	// ErrMethodNotAllowed: the path does not support this method.
	ErrMethodNotAllowed = errors.New("method not allowed")
)

// statusClientClosed is the HTTP status of a request whose caller has gone. The caller does not
// receive it, but logs and proxies show it.
const statusClientClosed = 499

// row is one kind of error with its reason, gRPC code and HTTP status.
type row struct {
	err    error
	reason string
	code   codes.Code
	http   int
}

// table maps errors to their forms on the wire. It is read-only. Its order matters for an error
// that wraps two sentinel errors: the first row applies, so the errors of contexts come last.
var table = [...]row{
	{sharelock.ErrInvalidArgument, "INVALID_ARGUMENT", codes.InvalidArgument, http.StatusBadRequest},
	{sharelock.ErrUnauthenticated, "UNAUTHENTICATED", codes.Unauthenticated, http.StatusUnauthorized},
	{sharelock.ErrPermissionDenied, "PERMISSION_DENIED", codes.PermissionDenied, http.StatusForbidden},
	{sharelock.ErrLockHeld, "LOCK_HELD", codes.Aborted, http.StatusConflict},
	{sharelock.ErrNotHeld, "NOT_HELD", codes.NotFound, http.StatusNotFound},
	{sharelock.ErrStaleToken, "STALE_TOKEN", codes.FailedPrecondition, http.StatusPreconditionFailed},
	{sharelock.ErrModeConflict, "MODE_CONFLICT", codes.FailedPrecondition, http.StatusConflict},
	{sharelock.ErrRequestOver, "REQUEST_OVER", codes.FailedPrecondition, http.StatusConflict},
	{sharelock.ErrTooManyWaiters, "TOO_MANY_WAITERS", codes.ResourceExhausted, http.StatusTooManyRequests},
	{sharelock.ErrQuota, "QUOTA", codes.ResourceExhausted, http.StatusTooManyRequests},
	{sharelock.ErrNoQuorum, "NO_QUORUM", codes.Unavailable, http.StatusServiceUnavailable},
	{sharelock.ErrNotReady, "NOT_READY", codes.Unavailable, http.StatusServiceUnavailable},
	{sharelock.ErrQuarantined, "QUARANTINED", codes.Unavailable, http.StatusServiceUnavailable},
	{sharelock.ErrNotConfirmed, "NOT_CONFIRMED", codes.Aborted, http.StatusConflict},
	{sharelock.ErrMessageTooLarge, "MESSAGE_TOO_LARGE", codes.ResourceExhausted, http.StatusRequestEntityTooLarge},
	{sharelock.ErrWrongPort, "WRONG_PORT", codes.FailedPrecondition, http.StatusMisdirectedRequest},
	{ErrNoRoute, "NOT_FOUND", codes.Unimplemented, http.StatusNotFound},
	{ErrMethodNotAllowed, "METHOD_NOT_ALLOWED", codes.Unimplemented, http.StatusMethodNotAllowed},
	internalRow,
	{context.DeadlineExceeded, "DEADLINE_EXCEEDED", codes.DeadlineExceeded, http.StatusGatewayTimeout},
	{context.Canceled, "CANCELLED", codes.Canceled, statusClientClosed},
}

// internalRow is also the row of an error that is not in the table. Such an error is a bug.
var internalRow = row{sharelock.ErrInternal, "INTERNAL", codes.Internal, http.StatusInternalServerError}

func rowOf(err error) (row, bool) {
	for _, r := range table {
		if errors.Is(err, r.err) {
			return r, true
		}
	}
	return internalRow, false
}

func rowOfReason(reason string) (row, bool) {
	for _, r := range table {
		if r.reason == reason {
			return r, true
		}
	}
	return row{}, false
}

// Reason returns the machine-readable name of an error, as in ErrorInfo and in the body of an HTTP
// error: INTERNAL for an error that is not in the table, empty for nil.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	r, _ := rowOf(err)
	return r.reason
}

// Reasons returns the machine-readable names of all errors.
func Reasons() []string {
	list := make([]string, len(table))
	for i, r := range table {
		list[i] = r.reason
	}
	return list
}

// HTTPStatus returns the HTTP status of an error: 500 for an error that is not in the table, 200
// for nil.
func HTTPStatus(err error) int {
	if err == nil {
		return http.StatusOK
	}
	r, _ := rowOf(err)
	return r.http
}

// Bounds of the size of an error. gRPC sends errors as headers, and some clients accept no more
// than 8 KiB of headers.
const (
	maxErrorText  = 1 << 10
	maxHeldDetail = 3 << 10
)

// ToStatus returns the gRPC status of an error. It has the table's code, the text of err as the
// message, and these details: an ErrorInfo with the reason (its metadata are field and message), a
// [LockHeldDetail] for LOCK_HELD, and a RetryInfo if err has a hint when to retry. ToStatus returns
// nil for nil. An error that is a gRPC status already is returned as it is; any other error that
// is not in the table becomes INTERNAL.
func ToStatus(err error) *status.Status {
	if err == nil {
		return nil
	}
	r, known := rowOf(err)
	if !known {
		if st, ok := status.FromError(err); ok {
			return st
		}
	}
	e := detailsOf(err, r)
	info := &errdetails.ErrorInfo{Reason: r.reason, Domain: ErrorDomain, Metadata: map[string]string{}}
	if e.Field != "" {
		info.Metadata["field"] = text(e.Field)
	}
	if e.Message != "" {
		info.Metadata["message"] = text(e.Message)
	}
	details := []protoadapt.MessageV1{info}
	if errors.Is(r.err, sharelock.ErrLockHeld) {
		details = append(details, HeldDetail(e))
	}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	st := status.New(r.code, text(err.Error()+heldBy(e)))
	if full, derr := st.WithDetails(details...); derr == nil {
		st = full
	}
	return st
}

// FromError is the inverse of [ToStatus], for clients. It converts the error of a gRPC call to a
// *[sharelock.Error] that wraps the sentinel error and has its field, message, holders, queue and
// retry hint.
//
// Errors that do not come from ShareLock have no ErrorInfo. Of these, FromError converts only those
// whose code is unambiguous: INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED,
// DEADLINE_EXCEEDED and CANCELLED (the last two wrap the errors of contexts). All others remain
// gRPC status errors; UNAVAILABLE then means a broken connection. nil and errors that are not a
// status are returned as they are.
func FromError(err error) error {
	st, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	e := &sharelock.Error{}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			r, known := rowOfReason(d.GetReason())
			if d.GetDomain() == ErrorDomain && known {
				e.Err = r.err
				e.Field = d.GetMetadata()["field"]
				e.Message = d.GetMetadata()["message"]
			}
		case *LockHeldDetail:
			e.Holds = HoldsFromProto(d.GetHolds())
			e.Queue = int(d.GetWaiters())
		case *errdetails.RetryInfo:
			e.RetryAfter = d.GetRetryDelay().AsDuration()
		}
	}
	if e.Err != nil {
		return e
	}
	switch st.Code() {
	case codes.InvalidArgument:
		e.Err = sharelock.ErrInvalidArgument
	case codes.Unauthenticated:
		e.Err = sharelock.ErrUnauthenticated
	case codes.PermissionDenied:
		e.Err = sharelock.ErrPermissionDenied
	case codes.DeadlineExceeded:
		e.Err = context.DeadlineExceeded
	case codes.Canceled:
		e.Err = context.Canceled
	default:
		return err
	}
	if m := st.Message(); m != e.Err.Error() {
		e.Message = m
	}
	return e
}

// heldBy returns a text that names the first holder, for readers who see the message without the
// details.
func heldBy(e *sharelock.Error) string {
	switch {
	case !errors.Is(e.Err, sharelock.ErrLockHeld) || len(e.Holds) == 0:
		return ""
	case len(e.Holds) == 1:
		return fmt.Sprintf(" by %q", e.Holds[0].ClientID)
	default:
		return fmt.Sprintf(" by %q and %d more", e.Holds[0].ClientID, len(e.Holds)-1)
	}
}

// HeldDetail returns the detail of LOCK_HELD: the number of waiters, and as many of the first
// holders as fit into an error. The holder of a mutex always fits.
func HeldDetail(e *sharelock.Error) *LockHeldDetail {
	d := &LockHeldDetail{Waiters: intconv.Uint32(e.Queue)}
	size := 0
	for i, h := range e.Holds {
		m := HoldToProto(h)
		if size += proto.Size(m); i > 0 && size > maxHeldDetail {
			break
		}
		d.Holds = append(d.Holds, m)
	}
	return d
}

// RetryAfter returns the hint in err when to retry, or 0 if there is none.
func RetryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*sharelock.Error](err); ok {
		return max(e.RetryAfter, 0)
	}
	return 0
}

// detailsOf returns the *sharelock.Error in err. If err only wraps a sentinel error, it makes one
// whose message is the text that the wrapping added.
func detailsOf(err error, r row) *sharelock.Error {
	if e, ok := errors.AsType[*sharelock.Error](err); ok {
		return e
	}
	added := strings.TrimSuffix(err.Error(), r.err.Error())
	return &sharelock.Error{Err: r.err, Message: strings.TrimSuffix(added, ": ")}
}

// text returns s as valid UTF-8 of limited length, for a protobuf string in a header.
func text(s string) string {
	if len(s) > maxErrorText {
		s = s[:maxErrorText]
		// Remove the rest of a rune that was cut.
		for i := 1; i < utf8.UTFMax && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]); i++ {
			s = s[:len(s)-1]
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
