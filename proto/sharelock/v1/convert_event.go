package sharelockv1

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
)

// eventTypes are the types of events on the wire.
var eventTypes = map[sharelock.EventType]WatchEvent_Type{
	sharelock.Acquired:  WatchEvent_ACQUIRED,
	sharelock.Released:  WatchEvent_RELEASED,
	sharelock.Expired:   WatchEvent_EXPIRED,
	sharelock.Forced:    WatchEvent_FORCED,
	sharelock.Queued:    WatchEvent_QUEUED,
	sharelock.LeftQueue: WatchEvent_LEFT_QUEUE,
	sharelock.Moved:     WatchEvent_MOVED,
	sharelock.Snapshot:  WatchEvent_SNAPSHOT,
	sharelock.Synced:    WatchEvent_SYNCED,
	sharelock.Reset:     WatchEvent_RESET,
	sharelock.Ping:      WatchEvent_PING,
}

// EventTypeToProto returns the type on the wire.
func EventTypeToProto(t sharelock.EventType) WatchEvent_Type { return eventTypes[t] }

// EventToProto returns the event on the wire.
func EventToProto(e *sharelock.Event) *WatchEvent {
	return &WatchEvent{
		Type: eventTypes[e.Type], Key: e.Key, Token: uint64(e.Token), ClientId: e.ClientID, Principal: e.Principal,
		Mode: ModeToProto(e.Mode), Reason: e.Reason, At: timestamppb.New(e.At), Waiters: intconv.Uint32(e.Waiters), Cursor: e.Cursor,
		Filtered: e.Filtered,
	}
}

// EventFromProto returns the event of a message. The type of an event that this release does not
// know is empty.
func EventFromProto(m *WatchEvent) sharelock.Event {
	e := sharelock.Event{
		Key: m.GetKey(), Token: sharelock.Token(m.GetToken()), ClientID: m.GetClientId(), Principal: m.GetPrincipal(),
		Mode: lenientMode(m.GetMode()), Reason: m.GetReason(), At: timeFromProto(m.GetAt()), Waiters: int(m.GetWaiters()), Cursor: m.GetCursor(),
		Filtered: m.GetFiltered(),
	}
	for name, number := range eventTypes {
		if number == m.GetType() {
			e.Type = name
		}
	}
	return e
}

// timeFromProto returns the time of a message; absent is the zero time.
func timeFromProto(m *timestamppb.Timestamp) time.Time {
	if m == nil {
		return time.Time{}
	}
	return m.AsTime()
}
