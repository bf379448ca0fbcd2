package sessionwire_test

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/proto"
)

// An event is encoded as by the generated code.
func TestAppendEvent(t *testing.T) {
	at := time.Date(2026, 11, 30, 17, 3, 22, 1e8, time.UTC)
	for _, e := range []sharelock.Event{
		{},
		{Type: sharelock.Synced, At: at, Filtered: true, Cursor: "5.9"},
		{Type: sharelock.Reset, Key: "k", Reason: "the view has changed", At: time.Unix(-1, 5)},
		{
			Type: sharelock.Acquired, Key: "orders/42", Token: 1 << 62, ClientID: "c", Principal: "ci", Mode: sharelock.Shared, At: at,
			Waiters: 10_000, Cursor: "4294967295.18446744073709551615",
		},
	} {
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(sharelockv1.EventToProto(&e))
		if err != nil {
			t.Fatal(err)
		}
		if got := sessionwire.AppendEvent([]byte("before"), &e); string(got) != "before"+string(want) {
			t.Errorf("%+v\ngot  %x\nwant %x", e, got, want)
		}
	}
}
