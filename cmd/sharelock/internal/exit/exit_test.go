package exit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

func TestCallError(t *testing.T) {
	if err := OfCall(nil); err != nil {
		t.Errorf("got %v", err)
	}
	e, _ := errors.AsType[*Error](OfCall(errors.Join(client.ErrUnreachable, errors.New("a\nb"))))
	if e.Code != Unreachable || strings.Contains(text.OneLine(e), "\n") {
		t.Errorf("got %d, %q", e.Code, text.OneLine(e))
	}
}

// Every kind of error of a call has its exit code.
func TestOfCall(t *testing.T) {
	known := &Error{Code: Lost}
	for _, test := range []struct {
		err  error
		code int
		by   syscall.Signal
		says string
	}{
		{errors.New("other"), Failed, 0, "other"},
		{client.ErrLost, Unreachable, 0, ""},
		{&sharelock.Error{Err: sharelock.ErrNoQuorum}, Unreachable, 0, "the mesh cannot serve: "},
		{errors.Join(client.ErrUnreachable, &sharelock.Error{Err: sharelock.ErrQuarantined}), Unreachable, 0, "the mesh cannot serve: "},
		{&sharelock.Error{Err: sharelock.ErrInvalidArgument}, Usage, 0, ""},
		{Interrupted{Sig: syscall.SIGTERM}, Signal + int(syscall.SIGTERM), syscall.SIGTERM, ""},
		{fmt.Errorf("acquire: %w", context.Canceled), Failed, 0, "acquire: "},
		{known, Lost, 0, "exit 75"},
	} {
		e, ok := errors.AsType[*Error](OfCall(test.err))
		if !ok || e.Code != test.code || e.By != test.by || !strings.Contains(e.Error(), test.says) {
			t.Errorf("%v: got %+v, want code %d, signal %d, and %q", test.err, e, test.code, test.by, test.says)
		}
	}
	if e, _ := errors.AsType[*Error](OfCall(errors.Join(client.ErrUnreachable, Interrupted{Sig: syscall.SIGINT}))); e.Err != nil {
		t.Errorf("a command that was interrupted says %q", e.Err)
	}
}

// Only some of the holders of a key are named, and only a held key changes the exit code.
func TestNotObtained(t *testing.T) {
	held := &sharelock.Error{Err: sharelock.ErrLockHeld, Queue: 7}
	for i := range 5 {
		held.Holds = append(held.Holds, sharelock.Hold{ClientID: fmt.Sprintf("w%d", i), Token: sharelock.Token(i + 1), ExpiresIn: time.Minute})
	}
	err := NotObtained(OfCall(held), 42)
	e, _ := errors.AsType[*Error](err)
	if e.Code != 42 || !strings.HasSuffix(err.Error(), "by w0 with token 1 for 1m, w1 with token 2 for 1m, w2 with token 3 for 1m, 2 more; 7 waiting") {
		t.Errorf("got code %d, %q", e.Code, err)
	}
	other := OfCall(client.ErrUnreachable)
	if got := NotObtained(other, 42); got != other {
		t.Errorf("got %v, want %v", got, other)
	}
}
