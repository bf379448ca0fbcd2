package peer

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// newsAtOnce is about the maximum size of the news in one message, in bytes. prefixReads is the
// number of reads of prefixes that may wait for earlier ones.
const (
	newsAtOnce  = 128 << 10
	prefixReads = 256
)

// Watch sends another member the events of keys that this one owns, until the other member ends the
// stream.
func (p *Server) Watch(stream grpc.BidiStreamingServer[peerv1.WatchRequest, peerv1.WatchResponse]) error {
	a := p.cfg.Views.Now()
	if a == nil {
		return status.Error(codes.Unavailable, "this process is in no view yet")
	}
	feed := a.Service.Feed()
	ctx := stream.Context()
	reads := make(chan owner.Read, prefixReads)
	ended := make(chan struct{}, 2)
	go func() {
		defer func() { ended <- struct{}{} }()
		for r := range reads {
			feed.Read(ctx, r)
		}
	}()
	go func() {
		defer func() { ended <- struct{}{} }()
		for {
			news, err := feed.Take(ctx)
			if err != nil || sendNews(stream, news) != nil {
				return
			}
		}
	}()
	err := receiveTargets(stream, feed, reads)
	feed.Close()
	close(reads)
	<-ended
	<-ended
	return err
}

// receiveTargets handles the requests of the other member until the stream ends.
func receiveTargets(stream grpc.BidiStreamingServer[peerv1.WatchRequest, peerv1.WatchResponse], feed *owner.Feed, reads chan<- owner.Read) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, t := range req.GetUnwatch() {
			feed.Unwatch(targetFromProto(t))
		}
		for _, t := range req.GetWatch() {
			feed.Watch(targetFromProto(t))
		}
		for _, m := range req.GetReads() {
			r := readFromProto(m)
			if r.Key != "" {
				feed.Read(stream.Context(), r)
				continue
			}
			select {
			case reads <- r:
			case <-stream.Context().Done():
				return stream.Context().Err()
			}
		}
	}
}

// sendNews sends news in messages of a bounded size.
func sendNews(stream grpc.BidiStreamingServer[peerv1.WatchRequest, peerv1.WatchResponse], news []owner.News) error {
	resp, size := &peerv1.WatchResponse{}, 0
	for len(news) > 0 {
		m, n, rest := newsToProto(news)
		resp.News = append(resp.News, m)
		if size += n; size >= newsAtOnce || len(rest) == 0 {
			if err := stream.Send(resp); err != nil {
				return err
			}
			resp, size = &peerv1.WatchResponse{}, 0
		}
		news = rest
	}
	return nil
}

func targetToProto(t owner.Target) *peerv1.WatchTarget {
	return &peerv1.WatchTarget{Key: t.Key, Prefix: t.Prefix}
}

func targetFromProto(p *peerv1.WatchTarget) owner.Target {
	return owner.Target{Key: p.GetKey(), Prefix: p.GetPrefix()}
}

func readToProto(r *owner.Read) *peerv1.WatchRead {
	return &peerv1.WatchRead{
		Id: r.ID, Epoch: r.Epoch, Target: targetToProto(r.Target), Resume: r.Resume, After: r.After, Partitions: r.Partitions,
	}
}

func readFromProto(p *peerv1.WatchRead) owner.Read {
	return owner.Read{
		ID: p.GetId(), Epoch: p.GetEpoch(), Target: targetFromProto(p.GetTarget()), Resume: p.GetResume(), After: p.GetAfter(), Partitions: p.GetPartitions(),
	}
}

// newsToProto converts the first of the news, and returns about its size in bytes. Consecutive
// events are converted together.
func newsToProto(news []owner.News) (p *peerv1.WatchNews, size int, rest []owner.News) {
	p = &peerv1.WatchNews{}
	for rest = news; len(rest) > 0 && rest[0].Event != nil && len(p.GetEvents()) < newsAtOnce; rest = rest[1:] {
		p.Events = appendEvent(p.GetEvents(), rest[0].Event)
	}
	if len(rest) < len(news) {
		return p, len(p.GetEvents()), rest
	}
	rest = news[1:]
	if news[0].Part == nil {
		return p, 0, rest
	}
	part := news[0].Part
	p.Part = &peerv1.WatchPart{
		Id: part.ID, Partition: part.Partition, Epoch: part.Epoch, Seq: part.Seq, Resumed: part.Resumed,
		Done: part.Done, Last: part.Last, Quarantined: part.Quarantined,
	}
	if part.Err != nil {
		p.Part.Error, p.Part.Behind = part.Err.Error(), isBehind(part.Err)
	}
	for _, e := range part.Events {
		p.Part.Events = append(p.Part.Events, eventToProto(e))
		size += eventBytes(e)
	}
	return p, size, rest
}

// eventBytes returns about how many bytes an event takes in a message.
func eventBytes(e *owner.Event) int {
	return len(e.Key) + len(e.ClientID) + len(e.Principal) + len(e.Reason) + 64
}

// newsFromProto appends the news of a message.
func newsFromProto(news []owner.News, p *peerv1.WatchNews) ([]owner.News, error) {
	switch {
	case p.GetPart() != nil:
		return append(news, owner.News{Part: partFromProto(p.GetPart())}), nil
	case len(p.GetEvents()) == 0:
		return append(news, owner.News{}), nil
	}
	for rest := p.GetEvents(); len(rest) > 0; {
		e, err := nextEvent(&rest)
		if err != nil {
			return nil, err
		}
		e.Cursor = e.Place().String()
		news = append(news, owner.News{Event: e})
	}
	return news, nil
}

func partFromProto(p *peerv1.WatchPart) *owner.Part {
	part := &owner.Part{
		ID: p.GetId(), Partition: p.GetPartition(), Epoch: p.GetEpoch(), Seq: p.GetSeq(), Resumed: p.GetResumed(),
		Done: p.GetDone(), Last: p.GetLast(), Quarantined: p.GetQuarantined(),
	}
	switch {
	case p.GetBehind():
		part.Err = owner.ErrBehind
	case p.GetError() != "":
		part.Err = &sharelock.Error{Err: sharelock.ErrNotReady, Message: p.GetError()}
	}
	for _, m := range p.GetEvents() {
		e := eventFromProto(m)
		if part.Resumed {
			e.Cursor = e.Place().String()
		}
		part.Events = append(part.Events, e)
	}
	return part
}

func eventToProto(e *owner.Event) *peerv1.WatchEvent {
	return &peerv1.WatchEvent{
		Type: string(e.Type), Key: e.Key, Token: uint64(e.Token), ClientId: e.ClientID, Principal: e.Principal, Mode: uint32(e.Mode),
		Reason: e.Reason, AtUnixNs: e.At.UnixNano(), Waiters: intconv.Uint32(e.Waiters), Partition: e.Partition, Epoch: e.Epoch, Seq: e.Seq,
	}
}

func eventFromProto(p *peerv1.WatchEvent) *owner.Event {
	return &owner.Event{
		Event: sharelock.Event{
			Type: sharelock.EventType(p.GetType()), Key: p.GetKey(), Token: sharelock.Token(p.GetToken()), ClientID: p.GetClientId(),
			Principal: p.GetPrincipal(), Mode: sharelock.Mode(intconv.Uint8(p.GetMode())), Reason: p.GetReason(),
			At: time.Unix(0, p.GetAtUnixNs()).UTC(), Waiters: int(p.GetWaiters()),
		},
		Partition: p.GetPartition(), Epoch: p.GetEpoch(), Seq: p.GetSeq(),
	}
}
