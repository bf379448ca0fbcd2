package sessionwire

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/tracecontext"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

func sampleCalls() []Call {
	return []Call{
		{ID: 1, Kind: CallAcquire, AcquireRequest: sharelock.AcquireRequest{
			Key: "k/é", ClientID: "w1", RequestID: "r-7", TTL: 10*time.Second + 5, Wait: 0, Mode: sharelock.Shared, Slots: 3,
			Metadata: map[string]string{"why": "demo"}, MaxHold: time.Hour + 1,
		}, Tell: true},
		{ID: 1 << 60, Kind: CallAcquire, AcquireRequest: sharelock.AcquireRequest{Key: "k", ClientID: "w1", Wait: sharelock.DefaultWait}},
		{ID: 3, Kind: CallRenew, AcquireRequest: sharelock.AcquireRequest{Key: "k", TTL: time.Minute, Wait: sharelock.DefaultWait}, Token: 256460173377011713},
		{ID: 4, Kind: CallRelease, AcquireRequest: sharelock.AcquireRequest{Key: "k", Wait: sharelock.DefaultWait}, Token: 7, SentOnce: true},
		{ID: 5, Kind: CallCancel, AcquireRequest: sharelock.AcquireRequest{Wait: sharelock.DefaultWait}},
		// Too long for a length of one byte.
		{ID: 6, Kind: CallAcquire, AcquireRequest: sharelock.AcquireRequest{
			Key: string(make([]byte, 400)) + "x", ClientID: "w2", RequestID: "r", Wait: 3 * time.Second,
		}},
		{ID: 7, Kind: CallGiveUp, AcquireRequest: sharelock.AcquireRequest{Key: "k", ClientID: "w1", RequestID: "r-7", Wait: sharelock.DefaultWait}},
		{ID: 8, Kind: CallRenew, AcquireRequest: sharelock.AcquireRequest{Key: "k", Metadata: map[string]string{"step": "3"}, Wait: sharelock.DefaultWait}, Token: 7},
		{ID: 9, Kind: CallRenew, AcquireRequest: sharelock.AcquireRequest{Key: "k", Metadata: map[string]string{}, Wait: sharelock.DefaultWait}, Token: 7},
		{
			ID: 10, Kind: CallRelease, AcquireRequest: sharelock.AcquireRequest{Key: "k", Wait: sharelock.DefaultWait}, Token: 7,
			Trace: &tracecontext.Parent{Flags: 1, Trace: [16]byte{15: 2}, Span: [8]byte{7: 3}},
		},
	}
}

func readCalls(t *testing.T, data []byte) []Call {
	t.Helper()
	var (
		r   CallReader
		all []Call
	)
	r.Reset(data)
	for {
		var c Call
		more, err := r.Next(&c)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return all
		}
		all = append(all, c)
	}
}

func TestSessionPing(t *testing.T) {
	for _, tt := range []struct {
		data []byte
		want bool
	}{{AppendCall(AppendPing(nil), &Call{ID: 1, Kind: CallCancel}), true}, {AppendCall(nil, &Call{ID: 1, Kind: CallCancel}), false}} {
		var (
			r CallReader
			c Call
		)
		r.Reset(tt.data)
		for more := true; more; {
			var err error
			if more, err = r.Next(&c); err != nil {
				t.Fatal(err)
			}
		}
		if r.Ping != tt.want {
			t.Errorf("ping of %x is %v, want %v", tt.data, r.Ping, tt.want)
		}
	}
}

// Calls are encoded and decoded by hand as by the generated code.
func TestSessionCalls(t *testing.T) {
	var data []byte
	calls := sampleCalls()
	for i := range calls {
		data = AppendCall(data, &calls[i])
	}
	data = AppendPing(data)
	var m sharelockv1.SessionRequest
	if err := proto.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	want := &sharelockv1.SessionRequest{Ping: true, Calls: []*sharelockv1.SessionCall{
		{Id: 1, Call: &sharelockv1.SessionCall_Acquire{Acquire: &sharelockv1.AcquireRequest{
			Key: "k/é", ClientId: "w1", RequestId: "r-7", Ttl: durationpb.New(10*time.Second + 5), Wait: durationpb.New(0),
			Mode: sharelockv1.Mode_SHARED, Slots: 3, Metadata: map[string]string{"why": "demo"},
			MaxHold: durationpb.New(time.Hour + 1), TellPosition: true,
		}}},
		{Id: 1 << 60, Call: &sharelockv1.SessionCall_Acquire{Acquire: &sharelockv1.AcquireRequest{Key: "k", ClientId: "w1"}}},
		{Id: 3, Call: &sharelockv1.SessionCall_Renew{Renew: &sharelockv1.RenewRequest{Key: "k", Token: 256460173377011713, Ttl: durationpb.New(time.Minute)}}},
		{Id: 4, Call: &sharelockv1.SessionCall_Release{Release: &sharelockv1.ReleaseRequest{Key: "k", Token: 7, SentOnce: true}}},
		{Id: 5, Call: &sharelockv1.SessionCall_Cancel{Cancel: &sharelockv1.SessionCancel{}}},
		{Id: 6, Call: &sharelockv1.SessionCall_Acquire{Acquire: &sharelockv1.AcquireRequest{
			Key: calls[5].Key, ClientId: "w2", RequestId: "r", Wait: durationpb.New(3 * time.Second),
		}}},
		{Id: 7, Call: &sharelockv1.SessionCall_GiveUp{GiveUp: &sharelockv1.GiveUpRequest{Key: "k", ClientId: "w1", RequestId: "r-7"}}},
		{Id: 8, Call: &sharelockv1.SessionCall_Renew{Renew: &sharelockv1.RenewRequest{Key: "k", Token: 7, Metadata: map[string]string{"step": "3"}}}},
		{Id: 9, Call: &sharelockv1.SessionCall_Renew{Renew: &sharelockv1.RenewRequest{Key: "k", Token: 7, ClearMetadata: true}}},
		{
			Id: 10, Call: &sharelockv1.SessionCall_Release{Release: &sharelockv1.ReleaseRequest{Key: "k", Token: 7}},
			Trace: []byte{0: 1, 16: 2, 24: 3},
		},
	}}
	if !proto.Equal(&m, want) {
		t.Errorf("by hand:\n%v\nwant:\n%v", &m, want)
	}
	generated, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for name, bytes := range map[string][]byte{"by hand": data, "generated": generated} {
		if got := readCalls(t, bytes); !reflect.DeepEqual(got, calls) {
			t.Errorf("%s: read\n%+v, want\n%+v", name, got, calls)
		}
	}
}

func TestSessionReplies(t *testing.T) {
	replies := []Reply{
		{ID: 9, Hold: sharelock.Hold{Token: 5 << 32, TTL: time.Minute, ExpiresIn: 59*time.Second + 1, SafeFor: time.Minute + 3, Node: "a"}},
		{ID: 10, Hold: sharelock.Hold{Token: 1, TTL: time.Second, ExpiresIn: 1, Node: "b", MaxHold: time.Minute, EndsIn: time.Second}},
		{ID: 11, Status: []byte{8, 10}},
	}
	var data []byte
	for i := range replies {
		data = AppendReply(data, &replies[i])
	}
	want := &sharelockv1.SessionResponse{Answers: []*sharelockv1.SessionAnswer{
		{Id: 9, Hold: &sharelockv1.Hold{Token: 5 << 32, Ttl: durationpb.New(time.Minute), ExpiresIn: durationpb.New(59*time.Second + 1), SafeFor: durationpb.New(time.Minute + 3), Node: "a"}},
		{Id: 10, Hold: &sharelockv1.Hold{Token: 1, Ttl: durationpb.New(time.Second), ExpiresIn: durationpb.New(1), Node: "b", MaxHold: durationpb.New(time.Minute), EndsIn: durationpb.New(time.Second)}},
		{Id: 11, Status: []byte{8, 10}},
	}}
	var m sharelockv1.SessionResponse
	if err := proto.Unmarshal(data, &m); err != nil || !proto.Equal(&m, want) {
		t.Errorf("by hand: %v, %v, want %v", &m, err, want)
	}
	generated, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for name, bytes := range map[string][]byte{"by hand": data, "generated": generated} {
		var (
			r   ReplyReader
			got []Reply
		)
		for r.Reset(bytes); ; {
			var a Reply
			more, err := r.Next(&a)
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			got = append(got, a)
		}
		if !reflect.DeepEqual(got, replies) {
			t.Errorf("%s: read %+v, want %+v", name, got, replies)
		}
	}
}

// An error of one call is the answer of that call. The rest of the message counts.
func TestSessionBadCalls(t *testing.T) {
	acquire := func(a *sharelockv1.AcquireRequest) *sharelockv1.SessionCall {
		a.Key = "k"
		return &sharelockv1.SessionCall{Id: 1, Call: &sharelockv1.SessionCall_Acquire{Acquire: a}}
	}
	tests := []struct {
		name, field string
		call        *sharelockv1.SessionCall
	}{
		{"no call", "call", &sharelockv1.SessionCall{Id: 1}},
		{"ttl 0", "ttl", acquire(&sharelockv1.AcquireRequest{Ttl: durationpb.New(0)})},
		{"ttl too long for Go", "ttl", acquire(&sharelockv1.AcquireRequest{Ttl: &durationpb.Duration{Seconds: 1 << 40}})},
		{"ttl with odd signs", "ttl", acquire(&sharelockv1.AcquireRequest{Ttl: &durationpb.Duration{Seconds: 1, Nanos: -1}})},
		{"negative wait", "wait", acquire(&sharelockv1.AcquireRequest{Wait: durationpb.New(-1)})},
		{"unknown mode", "mode", acquire(&sharelockv1.AcquireRequest{Mode: 9})},
		{"max_hold too long for Go", "max_hold", acquire(&sharelockv1.AcquireRequest{MaxHold: &durationpb.Duration{Seconds: 1 << 40}})},
		{"metadata and none", "clear_metadata", &sharelockv1.SessionCall{Id: 1, Call: &sharelockv1.SessionCall_Renew{Renew: &sharelockv1.RenewRequest{
			Key: "k", Token: 1, Metadata: map[string]string{"a": "b"}, ClearMetadata: true,
		}}}},
		{"no token", "token", &sharelockv1.SessionCall{Id: 1, Call: &sharelockv1.SessionCall_Release{Release: &sharelockv1.ReleaseRequest{Key: "k"}}}},
		{"a token of 64 bits", "token", &sharelockv1.SessionCall{Id: 1, Call: &sharelockv1.SessionCall_Renew{Renew: &sharelockv1.RenewRequest{Key: "k", Token: 1 << 63}}}},
	}
	for _, tt := range tests {
		data, err := proto.Marshal(&sharelockv1.SessionRequest{Calls: []*sharelockv1.SessionCall{tt.call, {Id: 2, Call: &sharelockv1.SessionCall_Cancel{Cancel: &sharelockv1.SessionCancel{}}}}})
		if err != nil {
			t.Fatal(err)
		}
		calls := readCalls(t, data)
		if len(calls) != 2 || calls[1].Kind != CallCancel {
			t.Fatalf("%s: read %+v", tt.name, calls)
		}
		e, ok := errors.AsType[*sharelock.Error](calls[0].Err)
		if !ok || e.Field != tt.field {
			t.Errorf("%s: error %v, want one of field %q", tt.name, calls[0].Err, tt.field)
		}
	}
}

func FuzzSessionCalls(f *testing.F) {
	var data []byte
	calls := sampleCalls()
	for i := range calls {
		data = AppendCall(data, &calls[i])
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var (
			r CallReader
			c Call
		)
		for r.Reset(data); ; {
			more, err := r.Next(&c)
			if err != nil || !more {
				return
			}
			if c.Err != nil {
				continue
			}
			// What is read is written and read again as the same.
			if back := readCalls(t, AppendCall(nil, &c)); len(back) != 1 || c.Kind != CallCancel && !reflect.DeepEqual(back[0], c) {
				t.Fatalf("%+v became %+v", c, back)
			}
		}
	})
}
