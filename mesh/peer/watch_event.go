package peer

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/protofield"
	"github.com/sgkandale/sharelock/owner"
)

// appendEvent appends an event in the form of a [peerv1.WatchEvent], after its length.
func appendEvent(b []byte, e *owner.Event) []byte {
	at := len(b)
	b = append(b, 0)
	b = protofield.AppendString(b, 1, string(e.Type))
	b = protofield.AppendString(b, 2, e.Key)
	b = protofield.AppendUint(b, 3, uint64(e.Token))
	b = protofield.AppendString(b, 4, e.ClientID)
	b = protofield.AppendString(b, 5, e.Principal)
	b = protofield.AppendUint(b, 6, uint64(e.Mode))
	b = protofield.AppendString(b, 7, e.Reason)
	b = protofield.AppendUint(b, 8, uint64(e.At.UnixNano()))
	b = protofield.AppendUint(b, 9, uint64(intconv.Uint32(e.Waiters)))
	b = protofield.AppendUint(b, 10, uint64(e.Partition))
	b = protofield.AppendUint(b, 11, uint64(e.Epoch))
	b = protofield.AppendUint(b, 12, e.Seq)
	return protofield.Shut(b, at)
}

// eventTypes are the known types of events, whose texts need not be copied from a message.
var eventTypes = map[string]sharelock.EventType{
	string(sharelock.Acquired): sharelock.Acquired, string(sharelock.Released): sharelock.Released, string(sharelock.Expired): sharelock.Expired,
	string(sharelock.Forced): sharelock.Forced, string(sharelock.Queued): sharelock.Queued, string(sharelock.LeftQueue): sharelock.LeftQueue,
}

// nextEvent removes the next event from a list and returns it.
func nextEvent(rest *[]byte) (*owner.Event, error) {
	data, n := protowire.ConsumeBytes(*rest)
	if n < 0 {
		return nil, protofield.ErrMalformed
	}
	*rest = (*rest)[n:]
	e := &owner.Event{Event: sharelock.Event{At: time.Unix(0, 0).UTC()}} // like the generated code if there is no time
	for len(data) > 0 {
		f, err := protofield.Next(&data)
		if err != nil {
			return nil, err
		}
		if err := setField(e, &f); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// setField sets a field of an event. It ignores unknown fields.
func setField(e *owner.Event, f *protofield.Field) error {
	switch {
	case f.Num <= 2 || f.Num == 4 || f.Num == 5 || f.Num == 7:
		if f.Typ != protowire.BytesType {
			return fmt.Errorf("%w: field %d is no text", protofield.ErrMalformed, f.Num)
		}
		setText(e, f)
	case f.Num <= 12:
		if f.Typ != protowire.VarintType {
			return fmt.Errorf("%w: field %d is no number", protofield.ErrMalformed, f.Num)
		}
		setNumber(e, f)
	}
	return nil
}

func setText(e *owner.Event, f *protofield.Field) {
	switch f.Num {
	case 1:
		known, ok := eventTypes[string(f.B)]
		if !ok {
			known = sharelock.EventType(f.B)
		}
		e.Type = known
	case 2:
		e.Key = string(f.B)
	case 4:
		e.ClientID = string(f.B)
	case 5:
		e.Principal = string(f.B)
	case 7:
		e.Reason = string(f.B)
	}
}

func setNumber(e *owner.Event, f *protofield.Field) {
	switch f.Num {
	case 3:
		e.Token = sharelock.Token(f.V)
	case 6:
		e.Mode = sharelock.Mode(f.Uint8())
	case 8:
		e.At = time.Unix(0, f.Int64()).UTC()
	case 9:
		e.Waiters = int(f.Uint32())
	case 10:
		e.Partition = f.Uint32()
	case 11:
		e.Epoch = f.Uint32()
	case 12:
		e.Seq = f.V
	}
}
