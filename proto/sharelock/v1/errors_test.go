package sharelockv1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sgkandale/sharelock"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// promised is the contract's table, written down a second time: a change of the
// one in errors.go must be meant.
var promised = []struct {
	err    error
	reason string
	code   codes.Code
	http   int
}{
	{sharelock.ErrInvalidArgument, "INVALID_ARGUMENT", codes.InvalidArgument, 400},
	{sharelock.ErrUnauthenticated, "UNAUTHENTICATED", codes.Unauthenticated, 401},
	{sharelock.ErrPermissionDenied, "PERMISSION_DENIED", codes.PermissionDenied, 403},
	{sharelock.ErrLockHeld, "LOCK_HELD", codes.Aborted, 409},
	{sharelock.ErrNotHeld, "NOT_HELD", codes.NotFound, 404},
	{sharelock.ErrStaleToken, "STALE_TOKEN", codes.FailedPrecondition, 412},
	{sharelock.ErrModeConflict, "MODE_CONFLICT", codes.FailedPrecondition, 409},
	{sharelock.ErrRequestOver, "REQUEST_OVER", codes.FailedPrecondition, 409},
	{sharelock.ErrTooManyWaiters, "TOO_MANY_WAITERS", codes.ResourceExhausted, 429},
	{sharelock.ErrQuota, "QUOTA", codes.ResourceExhausted, 429},
	{sharelock.ErrNoQuorum, "NO_QUORUM", codes.Unavailable, 503},
	{sharelock.ErrNotReady, "NOT_READY", codes.Unavailable, 503},
	{sharelock.ErrQuarantined, "QUARANTINED", codes.Unavailable, 503},
	{sharelock.ErrNotConfirmed, "NOT_CONFIRMED", codes.Aborted, 409},
	{sharelock.ErrMessageTooLarge, "MESSAGE_TOO_LARGE", codes.ResourceExhausted, 413},
	{sharelock.ErrWrongPort, "WRONG_PORT", codes.FailedPrecondition, 421},
	{sharelock.ErrInternal, "INTERNAL", codes.Internal, 500},
	{ErrNoRoute, "NOT_FOUND", codes.Unimplemented, 404},
	{ErrMethodNotAllowed, "METHOD_NOT_ALLOWED", codes.Unimplemented, 405},
	{context.DeadlineExceeded, "DEADLINE_EXCEEDED", codes.DeadlineExceeded, 504},
	{context.Canceled, "CANCELLED", codes.Canceled, 499},
}

func TestTableBothWays(t *testing.T) {
	if got, want := len(table), len(promised); got != want {
		t.Errorf("the table has %d rows, the contract %d", got, want)
	}
	for _, p := range promised {
		t.Run(p.reason, func(t *testing.T) {
			forms := map[string]error{
				"bare":     p.err,
				"wrapped":  fmt.Errorf("acquire %q: %w", "k", p.err),
				"detailed": &sharelock.Error{Err: p.err, Message: "why", Field: "ttl"},
				"both":     fmt.Errorf("here: %w", &sharelock.Error{Err: p.err, Message: "why"}),
			}
			for name, err := range forms {
				st := ToStatus(err)
				if st.Code() != p.code || st.Message() != err.Error() {
					t.Errorf("%s: status %v %q, want %v %q", name, st.Code(), st.Message(), p.code, err)
				}
				if got := Reason(err); got != p.reason {
					t.Errorf("%s: reason %s, want %s", name, got, p.reason)
				}
				if got := HTTPStatus(err); got != p.http {
					t.Errorf("%s: HTTP %d, want %d", name, got, p.http)
				}
				info := st.Details()[0].(*errdetails.ErrorInfo)
				if info.GetDomain() != "sharelock" || info.GetReason() != p.reason {
					t.Errorf("%s: ErrorInfo %v", name, info)
				}
				back := FromError(st.Err())
				if !errors.Is(back, p.err) {
					t.Errorf("%s: came back as %v", name, back)
				}
				for _, other := range promised {
					if other.err != p.err && errors.Is(back, other.err) {
						t.Errorf("%s: came back as %v too", name, other.reason)
					}
				}
				if _, ok := errors.AsType[*sharelock.Error](back); !ok {
					t.Errorf("%s: came back as a %T", name, back)
				}
			}
		})
	}
}

func TestDetailsSurvive(t *testing.T) {
	sent := []*sharelock.Error{
		{Err: sharelock.ErrInvalidArgument, Field: "ttl", Message: "is too short"},
		{Err: sharelock.ErrQuarantined, RetryAfter: 1500 * time.Millisecond},
		{Err: sharelock.ErrLockHeld, Queue: 7, Message: "no luck", RetryAfter: time.Second, Holds: []sharelock.Hold{{
			Key: "k", Token: sharelock.MakeToken(1<<31-1, 1<<32-1), ClientID: "c", RequestID: "r", Mode: sharelock.Shared,
			TTL: time.Second, ExpiresIn: time.Millisecond, Node: "a", Metadata: map[string]string{"why": "demo"},
		}, {Key: "k", Token: 1}}},
	}
	for _, want := range sent {
		got, ok := errors.AsType[*sharelock.Error](FromError(fmt.Errorf("call: %w", ToStatus(want).Err())))
		if !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("sent %+v, got %+v", want, got)
		}
	}
}

// What wrapping added to a bare sentinel is the message, said once.
func TestWrappingBecomesTheMessage(t *testing.T) {
	for _, c := range []struct{ err, want error }{
		{fmt.Errorf("renew: %w", sharelock.ErrNoQuorum), &sharelock.Error{Err: sharelock.ErrNoQuorum, Message: "renew"}},
		{sharelock.ErrNoQuorum, &sharelock.Error{Err: sharelock.ErrNoQuorum}},
		{errors.New("boom"), &sharelock.Error{Err: sharelock.ErrInternal, Message: "boom"}},
	} {
		if got := FromError(ToStatus(c.err).Err()); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: got %#v, want %#v", c.err, got, c.want)
		}
	}
}

func TestPlainStatuses(t *testing.T) {
	for code, want := range map[codes.Code]error{
		codes.InvalidArgument:  sharelock.ErrInvalidArgument,
		codes.Unauthenticated:  sharelock.ErrUnauthenticated,
		codes.PermissionDenied: sharelock.ErrPermissionDenied,
		codes.DeadlineExceeded: context.DeadlineExceeded,
		codes.Canceled:         context.Canceled,
	} {
		if got := FromError(status.Error(code, "x")); !errors.Is(got, want) {
			t.Errorf("%v came back as %v, want %v", code, got, want)
		}
	}
	for _, code := range []codes.Code{
		codes.Unavailable, codes.Internal, codes.Unknown, codes.Unimplemented, codes.NotFound,
		codes.Aborted, codes.FailedPrecondition, codes.ResourceExhausted,
	} {
		sent := status.Error(code, "x")
		if got := FromError(sent); !errors.Is(got, sent) || status.Code(got) != code {
			t.Errorf("%v came back as %v, want it untouched", code, got)
		}
		if got := ToStatus(sent); got.Code() != code {
			t.Errorf("status %v became %v", code, got.Code())
		}
	}
}

// A reason of another service, or of a release to come, is not ours to read: the
// code decides.
func TestForeignErrorInfo(t *testing.T) {
	for _, info := range []*errdetails.ErrorInfo{
		{Domain: "elsewhere", Reason: "LOCK_HELD"},
		{Domain: ErrorDomain, Reason: "NOT_INVENTED_YET"},
	} {
		for code, want := range map[codes.Code]error{codes.Aborted: nil, codes.InvalidArgument: sharelock.ErrInvalidArgument} {
			st, err := status.New(code, "x").WithDetails(info)
			if err != nil {
				t.Fatal(err)
			}
			got := FromError(st.Err())
			if want == nil && status.Code(got) != code || want != nil && !errors.Is(got, want) {
				t.Errorf("%v with %v came back as %v", code, info, got)
			}
			if errors.Is(got, sharelock.ErrLockHeld) {
				t.Errorf("%v was believed", info)
			}
		}
	}
}

func TestNothingToTranslate(t *testing.T) {
	if ToStatus(nil) != nil || FromError(nil) != nil || Reason(nil) != "" || HTTPStatus(nil) != http.StatusOK {
		t.Error("nil is not nil")
	}
	if got := FromError(io.EOF); got != io.EOF {
		t.Errorf("an error that is no status came back as %v", got)
	}
	if got := ToStatus(io.EOF); got.Code() != codes.Internal || Reason(io.EOF) != "INTERNAL" || HTTPStatus(io.EOF) != 500 {
		t.Errorf("an unknown error became %v", got)
	}
}

// An error that wraps both says what ShareLock knows, not that time ran out.
func TestOurErrorsGoBeforeTheContexts(t *testing.T) {
	err := fmt.Errorf("%w: %w", context.DeadlineExceeded, sharelock.ErrNoQuorum)
	if got := Reason(err); got != "NO_QUORUM" {
		t.Errorf("reason %s", got)
	}
}

// Errors travel as headers: whatever is in them, they stay small and valid.
func TestErrorsStaySmall(t *testing.T) {
	big := &sharelock.Error{Err: sharelock.ErrLockHeld, Queue: 1 << 40}
	for i := range 100 {
		big.Holds = append(big.Holds, sharelock.Hold{
			Key: strings.Repeat("k", 512), Token: sharelock.Token(i + 1), ClientID: strings.Repeat("c", 128),
			RequestID: strings.Repeat("r", 64), Metadata: map[string]string{"m": strings.Repeat("m", 2000)},
		})
	}
	for _, err := range []error{
		big,
		&sharelock.Error{Err: sharelock.ErrInvalidArgument, Field: strings.Repeat("ü", 5000), Message: strings.Repeat("ü", 5000)},
		errors.New(strings.Repeat("x", maxErrorText-1) + "ü"),
	} {
		st := ToStatus(err)
		if n := proto.Size(st.Proto()); n > 6<<10 {
			t.Errorf("%.40s…: status of %d bytes", err, n)
		}
		if len(st.Details()) == 0 {
			t.Errorf("%.40s…: the details were lost", err)
		}
		if m := st.Message(); !utf8.ValidString(m) || strings.Contains(m, "\uFFFD") {
			t.Errorf("the message %q was cut inside a rune", m[len(m)-8:])
		}
	}
	back, _ := errors.AsType[*sharelock.Error](FromError(ToStatus(big).Err()))
	if len(back.Holds) != 1 || back.Holds[0].Token != 1 {
		t.Errorf("%d holders came back, want the first", len(back.Holds))
	}
}

// A status with a string that is not UTF-8 could not be sent at all.
func TestErrorsAreValidUTF8(t *testing.T) {
	st := ToStatus(&sharelock.Error{Err: sharelock.ErrInvalidArgument, Field: "a\xffb", Message: "c\xed\xa0\x80d"})
	if _, err := proto.Marshal(st.Proto()); err != nil || len(st.Details()) != 1 {
		t.Errorf("%v: %v", st, err)
	}
}

func TestRetryAfter(t *testing.T) {
	err := fmt.Errorf("x: %w", &sharelock.Error{Err: sharelock.ErrNotReady, RetryAfter: time.Second})
	if got := RetryAfter(err); got != time.Second {
		t.Errorf("got %v", got)
	}
	if got := RetryAfter(io.EOF); got != 0 {
		t.Errorf("got %v", got)
	}
}
