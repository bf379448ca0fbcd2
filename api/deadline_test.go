package api

import (
	"context"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

func TestDeadlineError(t *testing.T) {
	for name, c := range map[string]struct {
		timeout, cancelAt time.Duration
		want              error
	}{
		"long before":   {time.Minute, time.Second, context.Canceled},
		"before":        {time.Minute, time.Minute - deadlineJitter - 1, context.Canceled},
		"just before":   {time.Minute, time.Minute - deadlineJitter, context.DeadlineExceeded},
		"by itself":     {time.Minute, time.Hour, context.DeadlineExceeded},
		"already over":  {-1, 0, context.DeadlineExceeded},
		"no slack left": {deadlineJitter, 0, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				parent, cancelParent := context.WithTimeout(t.Context(), c.timeout)
				defer cancelParent()
				timer := time.AfterFunc(c.cancelAt, cancelParent)
				defer timer.Stop()
				ctx, cancel := withDeadlineError(parent)
				defer cancel()
				// Contexts that the node derives must end with the same error, also those with another
				// deadline.
				child, cancelChild := context.WithCancel(ctx)
				defer cancelChild()
				other, cancelOther := context.WithTimeout(ctx, 2*time.Hour)
				defer cancelOther()
				for what, x := range map[string]context.Context{"context": ctx, "child": child, "child with a deadline": other} {
					<-x.Done()
					if got := x.Err(); got != c.want {
						t.Errorf("%s ended with %v, want %v", what, got, c.want)
					}
				}
				// The error does not change later.
				time.Sleep(time.Hour) // in the bubble: no time passes
				if got := ctx.Err(); got != c.want {
					t.Errorf("later it says %v, want %v", got, c.want)
				}
			})
		})
	}
}

func TestDeadlineErrorWithoutDeadline(t *testing.T) {
	parent, cancelParent := context.WithCancel(t.Context())
	ctx, cancel := withDeadlineError(parent)
	defer cancel()
	if ctx != parent {
		t.Error("a context without a deadline was wrapped")
	}
	cancelParent()
	if ctx.Err() != context.Canceled {
		t.Errorf("got %v", ctx.Err())
	}
}

// The end of the call cancels contexts derived from it, although the parent has not ended.
func TestDeadlineErrorIsReleased(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		parent, cancelParent := context.WithTimeout(t.Context(), time.Hour)
		defer cancelParent()
		ctx, cancel := withDeadlineError(parent)
		if ctx.Err() != nil {
			t.Errorf("ended at once: %v", ctx.Err())
		}
		cancel()
		cancel()
		<-ctx.Done()
		if ctx.Err() != context.Canceled {
			t.Errorf("got %v", ctx.Err())
		}
	})
}
