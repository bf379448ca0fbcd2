package httpjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/sgkandale/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Encode returns the JSON of an answer. It contains zero fields, but not absent messages.
func Encode(m proto.Message) ([]byte, error) {
	if data, ok := encodeHold(m); ok {
		return data, nil
	}
	return encodeAny(m)
}

func encodeAny(m proto.Message) ([]byte, error) {
	data, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: encode %s: %w", sharelock.ErrInternal, m.ProtoReflect().Descriptor().Name(), err)
	}
	// protojson varies its spaces, but equal answers should be equal bytes.
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		return nil, fmt.Errorf("%w: compact: %w", sharelock.ErrInternal, err)
	}
	return out.Bytes(), nil
}

func encodeDuration(d *durationpb.Duration) json.RawMessage {
	data, err := Encode(d)
	if err != nil {
		return json.RawMessage("null")
	}
	return data
}

// encodeHold encodes the answers to acquire, renew and release to the same bytes as encodeAny, but
// without protojson's reflection, which was a fifth of the cost of such a call. It reports false
// for all other messages and for holds that are not plain; encodeAny must encode those.
func encodeHold(m proto.Message) (data []byte, ok bool) {
	var h *pb.Hold
	switch m := m.(type) {
	case *pb.AcquireResponse:
		h = m.GetHold()
	case *pb.RenewResponse:
		h = m.GetHold()
	case *pb.ReleaseResponse:
		h = m.GetHold()
	}
	if h == nil || !plainHold(h) {
		return nil, false
	}
	data = make([]byte, 0, 512) // sufficient for most holds
	data = append(data, `{"hold":`...)
	data = appendHold(data, h)
	return append(data, '}'), true
}

// plainHold reports whether all of h can be encoded without escapes.
func plainHold(h *pb.Hold) bool {
	for k, v := range h.GetMetadata() {
		if !plainText(k) || !plainText(v) {
			return false
		}
	}
	_, named := pb.Mode_name[int32(h.GetMode())]
	return named &&
		plainText(h.GetKey()) && plainText(h.GetClientId()) && plainText(h.GetRequestId()) && plainText(h.GetNode()) && plainText(h.GetPrincipal()) &&
		plainDuration(h.GetTtl()) && plainDuration(h.GetExpiresIn()) && plainDuration(h.GetSafeFor()) &&
		plainDuration(h.GetMaxHold()) && plainDuration(h.GetEndsIn())
}

func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			return false
		}
	}
	return utf8.ValidString(s)
}

func plainDuration(d *durationpb.Duration) bool {
	return d == nil || d.IsValid() && d.GetNanos() >= 0
}

// appendHold appends a plain hold, with its fields in the order of the .proto file.
func appendHold(b []byte, h *pb.Hold) []byte {
	b = appendText(append(b, `{"key":`...), h.GetKey())
	b = append(b, `,"token":"`...) // 64-bit integers are strings in proto3 JSON
	b = strconv.AppendUint(b, h.GetToken(), 10)
	b = appendText(append(b, `","clientId":`...), h.GetClientId())
	b = appendText(append(b, `,"requestId":`...), h.GetRequestId())
	b = appendText(append(b, `,"mode":`...), pb.Mode_name[int32(h.GetMode())])
	b = strconv.AppendUint(append(b, `,"slots":`...), uint64(h.GetSlots()), 10)
	b = appendDuration(b, `,"ttl":`, h.GetTtl())
	b = appendDuration(b, `,"expiresIn":`, h.GetExpiresIn())
	b = appendDuration(b, `,"safeFor":`, h.GetSafeFor())
	b = appendText(append(b, `,"node":`...), h.GetNode())
	b = append(b, `,"metadata":{`...)
	for i, k := range slices.Sorted(maps.Keys(h.GetMetadata())) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, k), ':')
		b = appendText(b, h.GetMetadata()[k])
	}
	b = append(b, '}')
	b = appendDuration(b, `,"maxHold":`, h.GetMaxHold())
	b = appendDuration(b, `,"endsIn":`, h.GetEndsIn())
	if h.Principal != nil {
		b = appendText(append(b, `,"principal":`...), h.GetPrincipal())
	}
	return append(b, '}')
}

func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendDuration appends a duration field, unless it is absent: seconds, without a fraction or with
// one of 3, 6 or 9 digits.
func appendDuration(b []byte, name string, d *durationpb.Duration) []byte {
	if d == nil {
		return b
	}
	b = append(append(b, name...), '"')
	b = strconv.AppendInt(b, d.GetSeconds(), 10)
	if nanos := d.GetNanos(); nanos != 0 {
		point := len(b)
		b = strconv.AppendInt(b, 1e9+int64(nanos), 10) // the 1 keeps the leading zeros
		b[point] = '.'
		for bytes.HasSuffix(b, []byte("000")) {
			b = b[:len(b)-3]
		}
	}
	return append(b, `s"`...)
}
