package peer

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/owner/journal"
	"github.com/sgkandale/sharelock/owner/ops"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// History asks a member what it has recorded about the holds of a key.
func (p *Client) History(ctx context.Context, m ring.Member, q journal.Query) (journal.Part, error) {
	ctx, c, err := p.at(ctx, m.Peer, m.Identity)
	if err != nil {
		return journal.Part{}, err
	}
	req := &peerv1.HistoryRequest{Key: q.Key, Partition: q.Partition, From: q.From, To: q.To, Limit: intconv.Uint32(q.Limit)}
	for _, t := range q.Live {
		req.Live = append(req.Live, uint64(t))
	}
	resp, err := c.History(ctx, req)
	if err != nil {
		return journal.Part{}, err
	}
	return partOfHistory(resp), nil
}

// History answers with what this member has recorded about the holds of a key. The request has no
// epoch, because what was recorded stays true.
func (p *Server) History(ctx context.Context, req *peerv1.HistoryRequest) (*peerv1.HistoryResponse, error) {
	if p.cfg.History == nil {
		return &peerv1.HistoryResponse{}, nil // this process records nothing
	}
	if len(req.GetLive()) > sharelock.MaxListed || req.GetLimit() > sharelock.MaxHistory {
		return nil, status.Error(codes.InvalidArgument, "too much is asked for")
	}
	q := journal.Query{Key: req.GetKey(), Partition: req.GetPartition(), From: req.GetFrom(), To: req.GetTo(), Limit: int(req.GetLimit())}
	for _, t := range req.GetLive() {
		q.Live = append(q.Live, sharelock.Token(t))
	}
	part, err := p.cfg.History(ctx, q)
	if err != nil {
		return nil, status.FromContextError(err).Err()
	}
	return historyOfPart(&part), nil
}

func historyOfPart(part *journal.Part) *peerv1.HistoryResponse {
	resp := &peerv1.HistoryResponse{}
	for i := range part.Pasts {
		h := &part.Pasts[i]
		m := &peerv1.HistoryHold{
			Token: uint64(h.Token), Grant: markToProto(h.Grant), ClientId: h.ClientID, Principal: h.Principal,
			Mode: uint32(h.Mode), Queued: h.Queued, QueuedAt: h.QueuedAt,
		}
		for _, e := range h.Ends {
			m.Ends = append(m.Ends, &peerv1.HistoryEnd{Mark: markToProto(e.Mark), Why: uint32(e.Why), By: e.By})
		}
		resp.Holds = append(resp.Holds, m)
	}
	for _, s := range part.Spans {
		resp.Spans = append(resp.Spans, &peerv1.HistorySpan{
			Epoch: s.Epoch, Base: s.Base, From: s.From, Lost: s.Lost, Low: s.Low, High: s.High, Open: s.Open, LowAt: s.LowAt,
		})
	}
	return resp
}

func partOfHistory(resp *peerv1.HistoryResponse) (part journal.Part) {
	for _, m := range resp.GetHolds() {
		h := journal.Past{
			Token: sharelock.Token(m.GetToken()), Grant: markFromProto(m.GetGrant()), ClientID: m.GetClientId(), Principal: m.GetPrincipal(),
			Mode: sharelock.Mode(intconv.Uint8(m.GetMode())), Queued: m.GetQueued(), QueuedAt: m.GetQueuedAt(),
		}
		for _, e := range m.GetEnds() {
			h.Ends = append(h.Ends, journal.Ending{Mark: markFromProto(e.GetMark()), Why: ops.Why(min(e.GetWhy(), 255)), By: e.GetBy()})
		}
		part.Pasts = append(part.Pasts, h)
	}
	for _, s := range resp.GetSpans() {
		part.Spans = append(part.Spans, journal.Span{
			Epoch: s.GetEpoch(), Base: s.GetBase(), From: s.GetFrom(), Lost: s.GetLost(), Low: s.GetLow(), High: s.GetHigh(), Open: s.GetOpen(), LowAt: s.GetLowAt(),
		})
	}
	return part
}

func markToProto(m journal.Mark) *peerv1.HistoryMark {
	if m == (journal.Mark{}) {
		return nil
	}
	return &peerv1.HistoryMark{Epoch: m.Epoch, Seq: m.Seq, At: m.At, Owner: m.Owner}
}

func markFromProto(m *peerv1.HistoryMark) journal.Mark {
	return journal.Mark{Epoch: m.GetEpoch(), Seq: m.GetSeq(), At: m.GetAt(), Owner: m.GetOwner()}
}
