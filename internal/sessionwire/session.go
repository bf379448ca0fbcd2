package sessionwire

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that RawCodec replaces
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/protofield"
	"github.com/sgkandale/sharelock/internal/tracecontext"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// One message of a session may carry a thousand calls, so the messages are encoded and decoded by
// hand here: to the same bytes as the generated code, but without a message object and reflection
// for each call. TestSession* compares the two.

// Frame is one message of a session in its wire format: a [sharelockv1.SessionRequest] or a
// [sharelockv1.SessionResponse].
type Frame struct{ Data []byte }

// RawCodec is gRPC's codec for messages, except that it sends a *[Frame] as it is.
type RawCodec struct{}

var _ encoding.CodecV2 = RawCodec{}

// Name implements encoding.CodecV2.
func (RawCodec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2. The frame's data must not be modified afterwards.
func (RawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*Frame); ok {
		return mem.BufferSlice{mem.SliceBuffer(f.Data)}, nil
	}
	return encoding.GetCodecV2("proto").Marshal(v)
}

// Unmarshal implements encoding.CodecV2. It overwrites the frame's data and reuses its array.
func (RawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*Frame)
	if !ok {
		return encoding.GetCodecV2("proto").Unmarshal(data, v)
	}
	if n := data.Len(); cap(f.Data) < n {
		f.Data = make([]byte, n)
	} else {
		f.Data = f.Data[:n]
	}
	data.CopyTo(f.Data)
	return nil
}

// CallKind is the kind of a [Call]. The numbers are the field numbers in [SessionCall].
type CallKind uint8

// The calls of a session.
const (
	CallAcquire CallKind = 2
	CallRenew   CallKind = 3
	CallRelease CallKind = 4
	CallCancel  CallKind = 5
	CallGiveUp  CallKind = 6
)

// Call is one call of a session.
type Call struct {
	ID   uint64
	Kind CallKind
	// AcquireRequest has the arguments of an acquire. Other calls use some of its fields: Key all but
	// a cancel, ClientID and RequestID also giving up, TTL and Metadata a renew. In a renew, nil keeps
	// the metadata and an empty map removes it. TTL 0 means that none was given; Wait is
	// sharelock.DefaultWait if none was given.
	sharelock.AcquireRequest
	// Tell is set if an acquire asks for its place in the queue.
	Tell bool
	// Token belongs to a renew and a release, SentOnce to a release.
	Token    sharelock.Token
	SentOnce bool
	// Trace is the parent of the call's spans, or nil if the call is not traced.
	Trace *tracecontext.Parent
	// AnyHold is set by the node that took the call, see [caller.Caller]. It is not on the wire.
	AnyHold bool
	// Err is set if a call could be read but is invalid or not allowed. It is the answer to the
	// call.
	Err error
}

// CallReader reads the calls of a session's messages in order. The zero value reads nothing.
type CallReader struct {
	// Ping is set if the message, which was read to its end, asks for an answer; Keeps, if it has
	// requests other than calls, see KeepReader.
	Ping, Keeps bool

	rest []byte
	// client is the client id of the previous call. It is usually the same, and then no new string
	// is allocated.
	client  string
	scratch []byte
}

// Reset begins a new message. Nothing that is read from it refers to data.
func (r *CallReader) Reset(data []byte) { r.rest, r.Ping, r.Keeps = data, false, false }

// Next reads the next call. It reports false at the end of the message. It returns an error if data
// is not a valid message; an error of a single call is in its Err.
func (r *CallReader) Next(c *Call) (bool, error) {
	body, err := nextElement(&r.rest, &r.Ping, &r.Keeps)
	if body == nil || err != nil {
		return false, err
	}
	*c = Call{AcquireRequest: sharelock.AcquireRequest{Wait: sharelock.DefaultWait}}
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		if err != nil {
			return false, err
		}
		switch {
		case f.Num == 1 && f.Typ == protowire.VarintType:
			c.ID = f.V
		case f.Typ == protowire.BytesType && f.Num >= 2 && f.Num <= 6:
			c.Kind = CallKind(f.Num)
			if err := r.call(c, f.B); err != nil {
				return false, err
			}
		case f.Num == 7 && f.Typ == protowire.BytesType:
			c.Trace = tracecontext.Read(f.B)
		}
	}
	if c.Kind == 0 && c.Err == nil {
		c.Err = sharelock.Invalid("call", "is missing, or not known to this node")
	}
	return true, nil
}

// nextElement returns the next entry of field 1, or nil at the end. It sets ping if it finds field
// 2, a ping or pong, and more if it finds other fields.
func nextElement(rest *[]byte, ping, more *bool) ([]byte, error) {
	for len(*rest) > 0 {
		f, err := protofield.Next(rest)
		if err != nil {
			return nil, err
		}
		if f.Num == 1 && f.Typ == protowire.BytesType {
			if f.B == nil {
				f.B = []byte{}
			}
			return f.B, nil
		}
		if f.Num == 2 && f.Typ == protowire.VarintType {
			*ping = f.V != 0
		}
		*more = *more || f.Num > 2
	}
	return nil, nil
}

// AppendPing appends a ping to a [SessionRequest], or a pong to a [SessionResponse].
func AppendPing(b []byte) []byte { return protofield.AppendUint(b, 2, 1) }

// call reads an AcquireRequest, RenewRequest, ReleaseRequest, SessionCancel or
// GiveUpRequest.
func (r *CallReader) call(c *Call, body []byte) error {
	var key, request []byte
	none := false
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		if err != nil {
			return err
		}
		isBytes := f.Typ == protowire.BytesType
		switch {
		case c.Kind == CallCancel:
		case f.Num == 1 && isBytes:
			key = f.B
		case c.Kind == CallAcquire || c.Kind == CallGiveUp && f.Num <= 3:
			if f.Num == 3 && isBytes {
				request = f.B
			} else if err := r.acquire(c, f); err != nil {
				return err
			}
		case f.Num == 2 && f.Typ == protowire.VarintType:
			c.Token = sharelock.Token(f.V)
		case f.Num == 3 && c.Kind == CallRenew && isBytes:
			c.TTL, err = ttlField(c, f.B)
			if err != nil {
				return err
			}
		case f.Num == 4 && c.Kind == CallRenew && isBytes:
			if err := metadataField(&c.AcquireRequest, f.B); err != nil {
				return err
			}
		case f.Num == 5 && c.Kind == CallRenew && f.Typ == protowire.VarintType:
			none = f.V != 0
		case f.Num == 3 && c.Kind == CallRelease && f.Typ == protowire.VarintType:
			c.SentOnce = f.V != 0
		}
	}
	switch {
	case none && c.Metadata != nil:
		c.fail(ErrMetadataTwice)
	case none:
		c.Metadata = map[string]string{}
	}
	// One string holds both: a hold keeps them for the same time.
	r.scratch = append(append(r.scratch[:0], key...), request...)
	both := string(r.scratch)
	c.Key, c.RequestID = both[:len(key)], both[len(key):]
	if c.Kind == CallRenew || c.Kind == CallRelease {
		switch {
		case c.Token == 0:
			c.fail(sharelock.Invalid("token", "must be given"))
		case c.Token > math.MaxInt64:
			c.fail(sharelock.Invalid("token", "does not fit a signed 64-bit integer"))
		}
	}
	return nil
}

// ErrMetadataTwice refuses a renewal that both sets and removes metadata.
var ErrMetadataTwice = sharelock.Invalid("clear_metadata", "cannot be combined with metadata")

// fail records the first error of a call.
func (c *Call) fail(err error) {
	if c.Err == nil {
		c.Err = err
	}
}

// acquire takes one field of an AcquireRequest.
func (r *CallReader) acquire(c *Call, f protofield.Field) error {
	a := &c.AcquireRequest
	isBytes := f.Typ == protowire.BytesType
	var err error
	switch {
	case f.Num == 2 && isBytes:
		if r.client != string(f.B) { // does not allocate a string
			r.client = string(f.B)
		}
		a.ClientID = r.client
	case f.Num == 4 && isBytes:
		a.TTL, err = ttlField(c, f.B)
	case f.Num == 5 && isBytes:
		var ok bool
		if a.Wait, ok, err = durationField(f.B); err == nil && !ok {
			c.fail(sharelock.Invalid("wait", "is malformed or out of range"))
		} else if err == nil && a.Wait < 0 {
			c.fail(sharelock.Invalid("wait", fmt.Sprintf("%v is negative", a.Wait)))
		}
	case f.Num == 6 && f.Typ == protowire.VarintType:
		mode, merr := sharelockv1.ModeFromProto(sharelockv1.Mode(f.Int32()))
		if merr != nil {
			c.fail(merr)
		}
		a.Mode = mode
	case f.Num == 7 && f.Typ == protowire.VarintType:
		a.Slots = f.Uint32()
	case f.Num == 8 && isBytes:
		err = metadataField(a, f.B)
	case f.Num == 9 && isBytes:
		var ok bool
		if a.MaxHold, ok, err = durationField(f.B); err == nil && !ok {
			c.fail(sharelock.Invalid("max_hold", "is malformed or out of range"))
		}
	case f.Num == 10 && f.Typ == protowire.VarintType:
		c.Tell = f.V != 0
	}
	return err
}

// ttlField reads a TTL that was given.
func ttlField(c *Call, b []byte) (time.Duration, error) {
	ttl, ok, err := durationField(b)
	switch {
	case err != nil:
		return 0, err
	case !ok:
		c.fail(sharelock.Invalid("ttl", "is malformed or out of range"))
	case ttl < sharelock.MinTTL:
		c.fail(sharelock.Invalid("ttl", fmt.Sprintf("%v is below the least, %v", ttl, sharelock.MinTTL)))
	}
	return ttl, nil
}

// durationField reads a google.protobuf.Duration. ok is false if it is malformed or outside the
// range of time.Duration.
func durationField(b []byte) (d time.Duration, ok bool, err error) {
	var seconds, nanos int64
	for len(b) > 0 {
		f, err := protofield.Next(&b)
		if err != nil {
			return 0, false, err
		}
		if f.Typ == protowire.VarintType {
			switch f.Num {
			case 1:
				seconds = f.Int64()
			case 2:
				nanos = int64(f.Int32())
			}
		}
	}
	const most = math.MaxInt64/int64(time.Second) - 1
	bad := seconds > most || seconds < -most || nanos >= 1e9 || nanos <= -1e9 || seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0
	return time.Duration(seconds)*time.Second + time.Duration(nanos), !bad, nil
}

// metadataField reads one entry of the map.
func metadataField(a *sharelock.AcquireRequest, b []byte) error {
	var k, v string
	for len(b) > 0 {
		f, err := protofield.Next(&b)
		if err != nil {
			return err
		}
		if f.Typ == protowire.BytesType {
			switch f.Num {
			case 1:
				k = string(f.B)
			case 2:
				v = string(f.B)
			}
		}
	}
	if a.Metadata == nil {
		a.Metadata = map[string]string{}
	}
	a.Metadata[k] = v
	return nil
}

// AppendCall appends a call to a [SessionRequest]. It leaves out Wait if it is negative, and TTL if
// it is 0.
func AppendCall(b []byte, c *Call) []byte {
	b, outer := protofield.Open(b, 1)
	b = protofield.AppendUint(b, 1, c.ID)
	b, inner := protofield.Open(b, protowire.Number(c.Kind))
	a := &c.AcquireRequest
	switch c.Kind {
	case CallAcquire:
		b = protofield.AppendString(b, 1, a.Key)
		b = protofield.AppendString(b, 2, a.ClientID)
		b = protofield.AppendString(b, 3, a.RequestID)
		if a.TTL != 0 {
			b = appendDuration(b, 4, a.TTL)
		}
		if a.Wait >= 0 {
			b = appendDuration(b, 5, a.Wait)
		}
		b = protofield.AppendUint(b, 6, uint64(a.Mode))
		b = protofield.AppendUint(b, 7, uint64(a.Slots))
		b = appendMetadata(b, 8, a.Metadata)
		if a.MaxHold != 0 {
			b = appendDuration(b, 9, a.MaxHold)
		}
		if c.Tell {
			b = protofield.AppendUint(b, 10, 1)
		}
	case CallRenew:
		b = protofield.AppendString(b, 1, a.Key)
		b = protofield.AppendUint(b, 2, uint64(c.Token))
		if a.TTL != 0 {
			b = appendDuration(b, 3, a.TTL)
		}
		b = appendMetadata(b, 4, a.Metadata)
		if a.Metadata != nil && len(a.Metadata) == 0 {
			b = protofield.AppendUint(b, 5, 1)
		}
	case CallGiveUp:
		b = protofield.AppendString(b, 1, a.Key)
		b = protofield.AppendString(b, 2, a.ClientID)
		b = protofield.AppendString(b, 3, a.RequestID)
	case CallRelease:
		b = protofield.AppendString(b, 1, a.Key)
		b = protofield.AppendUint(b, 2, uint64(c.Token))
		if c.SentOnce {
			b = protofield.AppendUint(b, 3, 1)
		}
	}
	b = protofield.Shut(b, inner)
	if c.Trace != nil {
		var trace int
		b, trace = protofield.Open(b, 7)
		b = protofield.Shut(c.Trace.Append(b), trace)
	}
	return protofield.Shut(b, outer)
}

func appendMetadata(b []byte, num protowire.Number, metadata map[string]string) []byte {
	for k, v := range metadata {
		var m int
		b, m = protofield.Open(b, num)
		b = protofield.AppendString(b, 1, k)
		b = protofield.AppendString(b, 2, v)
		b = protofield.Shut(b, m)
	}
	return b
}

// Reply is the answer to one call of a session.
type Reply struct {
	ID uint64
	// Hold has the fields of a hold that a [SessionAnswer] carries.
	Hold sharelock.Hold
	// Status is a google.rpc.Status in its wire format, if the call failed.
	Status []byte
}

// AppendReply appends an answer to a [sharelockv1.SessionResponse].
func AppendReply(b []byte, r *Reply) []byte {
	b, outer := protofield.Open(b, 1)
	b = protofield.AppendUint(b, 1, r.ID)
	if r.Status != nil {
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		b = protowire.AppendBytes(b, r.Status)
		return protofield.Shut(b, outer)
	}
	h := &r.Hold
	b, inner := protofield.Open(b, 2)
	b = protofield.AppendUint(b, 2, uint64(h.Token))
	b = appendDuration(b, 7, h.TTL)
	b = appendDuration(b, 8, h.ExpiresIn)
	if h.SafeFor != 0 {
		b = appendDuration(b, 9, h.SafeFor)
	}
	b = protofield.AppendString(b, 10, h.Node)
	if h.MaxHold != 0 {
		b = appendDuration(b, 12, h.MaxHold)
	}
	if h.EndsIn != 0 {
		b = appendDuration(b, 13, h.EndsIn)
	}
	return protofield.Shut(protofield.Shut(b, inner), outer)
}

// ReplyReader reads the answers of a session's messages. The zero value reads nothing.
type ReplyReader struct {
	// Kept is set if the message, which was read to its end, has more than answers, see KeptReader.
	Kept bool

	rest []byte
	// node is the node of the previous answer; see CallReader.client.
	node string
}

// Reset begins a new message. Nothing that is read from it refers to data, except a status.
func (r *ReplyReader) Reset(data []byte) { r.rest, r.Kept = data, false }

// Next reads the next answer. It reports false at the end of the message.
func (r *ReplyReader) Next(a *Reply) (bool, error) {
	var pong bool
	body, err := nextElement(&r.rest, &pong, &r.Kept)
	if body == nil || err != nil {
		return false, err
	}
	*a = Reply{}
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		if err != nil {
			return false, err
		}
		switch {
		case f.Num == 1 && f.Typ == protowire.VarintType:
			a.ID = f.V
		case f.Num == 2 && f.Typ == protowire.BytesType:
			if err := r.hold(&a.Hold, f.B); err != nil {
				return false, err
			}
		case f.Num == 3 && f.Typ == protowire.BytesType:
			if a.Status = f.B; a.Status == nil {
				a.Status = []byte{}
			}
		}
	}
	return true, nil
}

func (r *ReplyReader) hold(h *sharelock.Hold, body []byte) error {
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		if err != nil {
			return err
		}
		var into *time.Duration
		switch {
		case f.Num == 2 && f.Typ == protowire.VarintType:
			h.Token = sharelock.Token(f.V)
		case f.Typ != protowire.BytesType:
		case f.Num == 7:
			into = &h.TTL
		case f.Num == 8:
			into = &h.ExpiresIn
		case f.Num == 9:
			into = &h.SafeFor
		case f.Num == 12:
			into = &h.MaxHold
		case f.Num == 13:
			into = &h.EndsIn
		case f.Num == 10:
			if r.node != string(f.B) { // does not allocate a string
				r.node = string(f.B)
			}
			h.Node = r.node
		}
		if into != nil {
			var ok bool
			if *into, ok, err = durationField(f.B); err != nil || !ok {
				return protofield.ErrMalformed
			}
		}
	}
	return nil
}

func appendDuration(b []byte, num protowire.Number, d time.Duration) []byte {
	b, at := protofield.Open(b, num)
	b = protofield.AppendInt(b, 1, d/time.Second)
	b = protofield.AppendInt(b, 2, d%time.Second)
	return protofield.Shut(b, at)
}
