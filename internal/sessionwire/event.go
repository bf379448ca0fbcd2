package sessionwire

import (
	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/protofield"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// AppendEvent appends an event as a [sharelockv1.WatchEvent].
func AppendEvent(b []byte, e *sharelock.Event) []byte {
	b = protofield.AppendUint(b, 1, uint64(intconv.Uint32(sharelockv1.EventTypeToProto(e.Type))))
	b = protofield.AppendString(b, 2, e.Key)
	b = protofield.AppendUint(b, 3, uint64(e.Token))
	b = protofield.AppendString(b, 4, e.ClientID)
	b = protofield.AppendString(b, 5, e.Principal)
	b = protofield.AppendUint(b, 6, uint64(intconv.Uint32(sharelockv1.ModeToProto(e.Mode))))
	b = protofield.AppendString(b, 7, e.Reason)
	b, at := protofield.Open(b, 8)
	b = protofield.AppendInt(b, 1, e.At.Unix())
	b = protofield.AppendInt(b, 2, int64(e.At.Nanosecond()))
	b = protofield.Shut(b, at)
	b = protofield.AppendUint(b, 9, uint64(intconv.Uint32(e.Waiters)))
	b = protofield.AppendString(b, 10, e.Cursor)
	if e.Filtered {
		b = protofield.AppendUint(b, 11, 1)
	}
	return b
}
