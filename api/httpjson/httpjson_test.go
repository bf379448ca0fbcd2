package httpjson

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       *pb.AcquireRequest
		field      string // that an error names; "" for none
	}{
		{"empty", " \n", &pb.AcquireRequest{Slots: 7}, ""},
		{"seconds", `{"ttl":"1.5s","clientId":"c"}`, &pb.AcquireRequest{Ttl: durationpb.New(1500 * time.Millisecond), ClientId: "c"}, ""},
		{"minutes", `{"ttl":"1m30s","client_id":"c"}`, &pb.AcquireRequest{Ttl: durationpb.New(90 * time.Second), ClientId: "c"}, ""},
		{"an unknown field", `{"clientId":"c","tll":"1s"}`, nil, "tll"},
		{"a wrong type", `{"clientId":"c","slots":"many"}`, nil, "slots"},
		{"a wrong duration", `{"ttl":"1m","wait":"soon"}`, nil, "wait"},
		{"no object", `[]`, nil, "body"},
		{"two objects", `{"ttl":"1m"}{}`, nil, "body"},
		{"cut off", `{"ttl":"1m"`, nil, "body"},
	} {
		m := &pb.AcquireRequest{Slots: 7}
		err := Decode([]byte(tt.body), m)
		var e *sharelock.Error
		switch {
		case tt.field == "" && (err != nil || !proto.Equal(m, tt.want)):
			t.Errorf("%s: %v, %v; want %v", tt.name, m, err, tt.want)
		case tt.field != "" && (!errors.As(err, &e) || !errors.Is(err, sharelock.ErrInvalidArgument) || e.Field != tt.field):
			t.Errorf("%s: %v, want the field %q", tt.name, err, tt.field)
		}
	}
}

// An accepted body means the same with both forms of durations.
func FuzzDecode(f *testing.F) {
	f.Add(`{"ttl":"1m","wait":"100ms","metadata":{"a":"b"}}`)
	f.Add(`{"ttl":"1s"}{}`)
	f.Add(`{"ttl":null,"ttl":"9h"}`)
	f.Add(`{"\ud800":1}`)
	f.Fuzz(func(t *testing.T, body string) {
		m, again := &pb.AcquireRequest{}, &pb.AcquireRequest{}
		if err := Decode([]byte(body), m); err != nil {
			if e, ok := errors.AsType[*sharelock.Error](err); !ok || e.Field == "" && !strings.Contains(body, `""`) {
				t.Errorf("%q: %v names no field", body, err)
			}
			return
		}
		data, err := Encode(m)
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if err := Decode(data, again); err != nil || !proto.Equal(m, again) {
			t.Errorf("%q is %v, and encoded again %v, %v", body, m, again, err)
		}
	})
}

// Zero fields are present, absent messages are not, and there are no spaces, which protojson varies.
func TestEncode(t *testing.T) {
	for _, tt := range []struct {
		m    proto.Message
		want string
	}{
		{&pb.ReleaseResponse{}, `{}`},
		{&pb.LeaveRequest{}, `{"forGood":false}`},
		{&pb.CheckTokenResponse{Stale: true, WaiterCount: 2}, `{"stale":true,"holds":[],"holdCount":0,"waiterCount":2}`},
		{durationpb.New(1500 * time.Millisecond), `"1.500s"`},
	} {
		if got, err := Encode(tt.m); err != nil || string(got) != tt.want {
			t.Errorf("%T: %s, %v; want %s", tt.m, got, err, tt.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		more proto.Message
		want string // the error in JSON
	}{
		{
			"a field", sharelock.Invalid("ttl", "is too short"), nil,
			`{"code":400,"reason":"INVALID_ARGUMENT","message":"invalid argument: ttl: is too short","details":{"field":"ttl"}}`,
		},
		{
			"a pause", &sharelock.Error{Err: sharelock.ErrNotReady, RetryAfter: 1500 * time.Millisecond}, nil,
			`{"code":503,"reason":"NOT_READY","message":"not ready","details":{"retryAfter":"1.500s"}}`,
		},
		{
			"an answer beside the error", sharelock.ErrStaleToken, &pb.LeaveRequest{ForGood: true},
			`{"code":412,"reason":"STALE_TOKEN","message":"token is stale","details":{"forGood":true}}`,
		},
		{
			"holders", &sharelock.Error{Err: sharelock.ErrLockHeld}, nil,
			`{"code":409,"reason":"LOCK_HELD","message":"lock is held","details":{"holds":[],"waiters":0}}`,
		},
	} {
		got := Describe(tt.err, tt.more)
		data, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if string(data) != tt.want {
			t.Errorf("%s:\n%s, want\n%s", tt.name, data, tt.want)
		}
	}
}

func TestNamedAsWritten(t *testing.T) {
	for _, tt := range []struct{ field, body, want string }{
		{"max_hold", `{"maxHold":"1"}`, "maxHold"},
		{"max_hold", `{"max_hold":"1"}`, "max_hold"},
		{"max_hold", ``, "maxHold"},
		{"ttl", `{}`, "ttl"},
	} {
		was := sharelock.Invalid(tt.field, "is wrong")
		e, ok := errors.AsType[*sharelock.Error](NamedAsWritten(was, []byte(tt.body)))
		if !ok || e.Field != tt.want {
			t.Errorf("%q in %s: %v, want %q", tt.field, tt.body, e, tt.want)
		}
		if first, _ := errors.AsType[*sharelock.Error](was); first.Field != tt.field {
			t.Errorf("%q in %s: the error itself was changed", tt.field, tt.body)
		}
	}
	if err := NamedAsWritten(sharelock.ErrNotHeld, nil); !errors.Is(err, sharelock.ErrNotHeld) {
		t.Errorf("an error without a field became %v", err)
	}
}

func TestAppendEvent(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	data := `data: {"key":"k","token":"7","clientId":"c","principal":"","mode":"EXCLUSIVE","reason":"","at":"2026-01-02T03:04:05.000000006Z","waiters":1}` + "\n\n"
	for _, tt := range []struct {
		kind   sharelock.EventType
		cursor string
		want   string
	}{
		{sharelock.Ping, "5", ": keep-alive\nevent: ping\n" + data},
		{sharelock.Reset, "5", "id\nevent: reset\n" + data},
		{sharelock.Moved, "5", "id\nevent: moved\n" + data},
		{"granted", "5", "id: 5\nevent: granted\n" + data},
		{"granted", "", "event: granted\n" + data},
		{"granted", "a\nevent: x", "event: granted\n" + data},
	} {
		e := &sharelock.Event{Type: tt.kind, Cursor: tt.cursor, Key: "k", Token: 7, ClientID: "c", Mode: sharelock.Exclusive, At: at, Waiters: 1}
		if got := string(AppendEvent(nil, e)); got != tt.want {
			t.Errorf("%s, cursor %q:\n%q, want\n%q", tt.kind, tt.cursor, got, tt.want)
		}
	}
	got := string(AppendEvent(nil, &sharelock.Event{Type: "granted", Key: "a\"\n", Filtered: true}))
	if !strings.Contains(got, `"key":"a\"\n"`) || !strings.Contains(got, `"filtered":true`) || strings.Count(got, "\n") != 3 {
		t.Errorf("a key with a line break: %q", got)
	}
}
