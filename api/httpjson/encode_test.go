package httpjson

import (
	"math"
	"testing"
	"time"

	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// holdAnswers are the messages that encodeHold knows, around h.
func holdAnswers(h *pb.Hold) []proto.Message {
	return []proto.Message{&pb.AcquireResponse{Hold: h}, &pb.RenewResponse{Hold: h}, &pb.ReleaseResponse{Hold: h}}
}

// checkEncoding compares encode with protojson, also its errors.
func checkEncoding(t *testing.T, m proto.Message) {
	t.Helper()
	want, wantErr := encodeAny(m)
	got, err := Encode(m)
	if string(got) != string(want) || (err == nil) != (wantErr == nil) {
		t.Errorf("%T is\n%s (%v), protojson's is\n%s (%v)", m, got, err, want, wantErr)
	}
}

func TestEncodeHold(t *testing.T) {
	plain := func(change func(*pb.Hold)) *pb.Hold {
		h := &pb.Hold{
			Key: "orders/42", Token: math.MaxInt64, ClientId: "wörker <&\u2028>", RequestId: "r", Mode: pb.Mode_SHARED, Slots: math.MaxUint32,
			Ttl: durationpb.New(time.Minute), ExpiresIn: durationpb.New(59*time.Second + 90*time.Millisecond), SafeFor: durationpb.New(7),
			Node: "node0", Metadata: map[string]string{"b": "2", "a": "1", "": "ü"},
			MaxHold: durationpb.New(time.Hour), EndsIn: durationpb.New(time.Minute + 1),
		}
		change(h)
		return h
	}
	duration := func(seconds int64, nanos int32) func(*pb.Hold) {
		return func(h *pb.Hold) { h.Ttl = &durationpb.Duration{Seconds: seconds, Nanos: nanos} }
	}
	for name, c := range map[string]struct {
		change func(*pb.Hold)
		fast   bool
	}{
		"as it is":               {func(*pb.Hold) {}, true},
		"zero":                   {func(h *pb.Hold) { proto.Reset(h) }, true},
		"duration 0":             {duration(0, 0), true},
		"milliseconds":           {duration(0, 120_000_000), true},
		"microseconds":           {duration(1, 20_000), true},
		"nanoseconds":            {duration(1, 999_999_999), true},
		"thousands of seconds":   {duration(60_000, 0), true},
		"longest duration":       {duration(315_576_000_000, 0), true},
		"negative seconds":       {duration(-1, 0), true},
		"negative nanoseconds":   {duration(-1, -500_000_000), false},
		"too long":               {duration(math.MaxInt64, 0), false},
		"too many nanoseconds":   {duration(0, 1_000_000_000), false},
		"signs differ":           {duration(1, -1), false},
		"unknown mode":           {func(h *pb.Hold) { h.Mode = 7 }, false},
		"quote":                  {func(h *pb.Hold) { h.Key = `a"b` }, false},
		"backslash":              {func(h *pb.Hold) { h.ClientId = `a\b` }, false},
		"control character":      {func(h *pb.Hold) { h.RequestId = "a\nb" }, false},
		"not UTF-8":              {func(h *pb.Hold) { h.Node = "\xff" }, false},
		"principal":              {func(h *pb.Hold) { h.Principal = new("apps/ci") }, true},
		"quote in principal":     {func(h *pb.Hold) { h.Principal = new(`"`) }, false},
		"quote in metadata":      {func(h *pb.Hold) { h.Metadata["a"] = `"` }, false},
		"quote in metadata keys": {func(h *pb.Hold) { h.Metadata[`"`] = "a" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, m := range holdAnswers(plain(c.change)) {
				checkEncoding(t, m)
				if _, fast := encodeHold(m); fast != c.fast {
					t.Errorf("%T encoded without protojson: %t, want %t", m, fast, c.fast)
				}
			}
		})
	}
	for _, m := range holdAnswers(nil) {
		checkEncoding(t, m)
	}
}

// A field that is added to a message later must not be left out silently.
func TestEncodeHoldKnowsAllFields(t *testing.T) {
	const known = 14
	if n := (&pb.Hold{}).ProtoReflect().Descriptor().Fields().Len(); n != known {
		t.Errorf("Hold has %d fields, appendHold knows %d", n, known)
	}
	for _, m := range holdAnswers(nil) {
		if n := m.ProtoReflect().Descriptor().Fields().Len(); n != 1 {
			t.Errorf("%T has %d fields, encodeHold knows its hold only", m, n)
		}
	}
}

func FuzzEncodeHold(f *testing.F) {
	f.Add("k", "c", "r", "n", "m", uint64(1), int32(0), uint32(0), int64(60), int32(0))
	f.Add(`"`, "\\", "\x00", "\xff", "\u2028", uint64(math.MaxUint64), int32(2), uint32(9), int64(-1), int32(-1))
	f.Add("\x7f", "ü", "<", "&", "", uint64(0), int32(1), uint32(1), int64(0), int32(1000))
	f.Fuzz(func(t *testing.T, key, client, request, node, meta string, token uint64, mode int32, slots uint32, seconds int64, nanos int32) {
		d := &durationpb.Duration{Seconds: seconds, Nanos: nanos}
		checkEncoding(t, &pb.AcquireResponse{Hold: &pb.Hold{
			Key: key, Token: token, ClientId: client, RequestId: request, Mode: pb.Mode(mode), Slots: slots,
			Ttl: d, SafeFor: d, Node: node, Metadata: map[string]string{meta: node, "a": meta},
		}})
	})
}
