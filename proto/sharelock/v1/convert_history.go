package sharelockv1

import (
	"time"

	"github.com/sgkandale/sharelock"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// holdEnds are the ends of holds on the wire.
var holdEnds = map[sharelock.HoldEnd]HoldEnd{
	sharelock.EndNone:     HoldEnd_HELD,
	sharelock.EndReleased: HoldEnd_RELEASED,
	sharelock.EndExpired:  HoldEnd_EXPIRED,
	sharelock.EndForced:   HoldEnd_FORCED,
	sharelock.EndLost:     HoldEnd_LOST,
}

// HistoryToProto returns the history on the wire.
func HistoryToProto(h *sharelock.History) *HistoryResponse {
	m := &HistoryResponse{Complete: h.Complete}
	for i := range h.Entries {
		e := &h.Entries[i]
		entry := &HistoryEntry{
			Token: uint64(e.Token), ClientId: e.ClientID, Principal: e.Principal, Mode: ModeToProto(e.Mode),
			AcquiredAt: timeToProto(e.Acquired), EndedAt: timeToProto(e.Ended), End: holdEnds[e.End], By: e.By,
		}
		if e.WaitKnown {
			entry.Waited = durationpb.New(e.Waited)
		}
		m.Entries = append(m.Entries, entry)
	}
	return m
}

// HistoryFromProto returns the history of a message. An end that this release does not know is
// sharelock.EndNone.
func HistoryFromProto(m *HistoryResponse) sharelock.History {
	h := sharelock.History{Complete: m.GetComplete()}
	for _, e := range m.GetEntries() {
		past := sharelock.PastHold{
			Token: sharelock.Token(e.GetToken()), ClientID: e.GetClientId(), Principal: e.GetPrincipal(), Mode: lenientMode(e.GetMode()),
			Acquired: timeFromProto(e.GetAcquiredAt()), Waited: e.GetWaited().AsDuration(), WaitKnown: e.GetWaited() != nil,
			Ended: timeFromProto(e.GetEndedAt()), By: e.GetBy(),
		}
		for end, number := range holdEnds {
			if number == e.GetEnd() {
				past.End = end
			}
		}
		h.Entries = append(h.Entries, past)
	}
	return h
}

// HistoryRequestToProto returns the request on the wire.
func HistoryRequestToProto(r sharelock.HistoryRequest) *HistoryRequest {
	return &HistoryRequest{Key: r.Key, From: timeToProto(r.From), To: timeToProto(r.To), Limit: uint32(min(max(r.Limit, 0), sharelock.MaxHistory+1))}
}

// HistoryRequestFromProto returns the request of a message. It fails if a time is out of range.
func HistoryRequestFromProto(m *HistoryRequest) (sharelock.HistoryRequest, error) {
	for name, t := range map[string]*timestamppb.Timestamp{"from": m.GetFrom(), "to": m.GetTo()} {
		if t != nil && !t.IsValid() {
			return sharelock.HistoryRequest{}, sharelock.Invalid(name, "is out of range")
		}
	}
	return sharelock.HistoryRequest{
		Key: m.GetKey(), From: timeFromProto(m.GetFrom()), To: timeFromProto(m.GetTo()), Limit: int(min(m.GetLimit(), sharelock.MaxHistory+1)),
	}, nil
}

// timeToProto returns the time on the wire; the zero time is absent.
func timeToProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
