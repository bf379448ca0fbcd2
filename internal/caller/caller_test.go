package caller_test

import (
	"context"
	"testing"

	"github.com/sgkandale/sharelock/internal/caller"
)

func TestContext(t *testing.T) {
	if got := caller.From(context.Background()); got != (caller.Caller{}) {
		t.Errorf("the caller of an empty context is %+v", got)
	}
	want := caller.Caller{Principal: "ci", AnyHold: true}
	if got := caller.From(caller.With(context.Background(), want)); got != want {
		t.Errorf("the caller is %+v, want %+v", got, want)
	}
}
