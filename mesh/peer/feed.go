package peer

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// A Feed is the stream of events of the keys that another member owns. Its methods are those of
// [owner.Feed]; only Take blocks. It is safe for concurrent use, except that only one goroutine may
// call Take.
type Feed struct {
	client *Client
	member ring.Member
	wake   wake.Signal
	// stream is opened by the first Take; only Take and the goroutine that it starts use it.
	stream grpc.BidiStreamingClient[peerv1.WatchRequest, peerv1.WatchResponse]
	cancel context.CancelFunc

	mu sync.Mutex
	// watch and unwatch are the targets to be sent next; guarded by mu. A target is in at most one
	// of the maps.
	watch, unwatch map[owner.Target]struct{}
	reads          []owner.Read // guarded by mu
}

// Feed returns a feed of a member. The stream is opened by the first Take.
func (p *Client) Feed(m ring.Member) *Feed {
	return &Feed{client: p, member: m, wake: wake.New(), watch: map[owner.Target]struct{}{}, unwatch: map[owner.Target]struct{}{}}
}

// Watch adds a target.
func (f *Feed) Watch(t owner.Target) { f.change(t, f.watch, f.unwatch) }

// Unwatch removes a target.
func (f *Feed) Unwatch(t owner.Target) { f.change(t, f.unwatch, f.watch) }

func (f *Feed) change(t owner.Target, to, from map[owner.Target]struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(from, t)
	to[t] = struct{}{}
	f.wake.Set()
}

// Read asks for the state of a target.
func (f *Feed) Read(r owner.Read) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads = append(f.reads, r)
	f.wake.Set()
}

// Take waits for news. After an error the feed has ended.
func (f *Feed) Take(ctx context.Context) ([]owner.News, error) {
	if f.stream == nil {
		if err := f.open(ctx); err != nil {
			return nil, err
		}
	}
	resp, err := f.stream.Recv()
	if err != nil {
		return nil, err
	}
	var news []owner.News
	for _, n := range resp.GetNews() {
		if news, err = newsFromProto(news, n); err != nil {
			return nil, err
		}
	}
	return news, nil
}

// open opens the stream, which ends with ctx.
func (f *Feed) open(ctx context.Context) error {
	ctx, f.cancel = context.WithCancel(ctx)
	out, c, err := f.client.at(ctx, f.member.Peer, f.member.Identity)
	if err == nil {
		f.stream, err = c.Watch(out)
	}
	if err == nil && !f.client.cfg.Spawn(func() { f.send(ctx) }) {
		err = ErrClosed
	}
	if err != nil {
		f.cancel()
	}
	return err
}

// send sends requests until the stream ends.
func (f *Feed) send(ctx context.Context) {
	for {
		select {
		case <-f.wake:
		case <-ctx.Done():
			return
		}
		if req := f.next(); req != nil && f.stream.Send(req) != nil {
			return // Recv returns the reason
		}
	}
}

// next returns the next request, or nil if nothing is to be sent.
func (f *Feed) next() *peerv1.WatchRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	req := &peerv1.WatchRequest{Watch: takeTargets(f.watch), Unwatch: takeTargets(f.unwatch)}
	if len(f.watch) == 0 { // a target must be watched before it is read
		n := min(len(f.reads), askAtOnce)
		for i := range f.reads[:n] {
			req.Reads = append(req.Reads, readToProto(&f.reads[i]))
		}
		if f.reads = f.reads[n:]; len(f.reads) == 0 {
			f.reads = nil
		}
	}
	if len(f.watch)+len(f.unwatch)+len(f.reads) > 0 {
		f.wake.Set() // there is more
	}
	if len(req.GetWatch())+len(req.GetUnwatch())+len(req.GetReads()) == 0 {
		return nil
	}
	return req
}

// askAtOnce is the maximum number of targets, and of reads, in one message.
const askAtOnce = 500

// takeTargets removes up to askAtOnce targets from a set and returns them.
func takeTargets(set map[owner.Target]struct{}) (list []*peerv1.WatchTarget) {
	for t := range set {
		if len(list) == askAtOnce {
			break
		}
		list = append(list, targetToProto(t))
		delete(set, t)
	}
	return list
}

// Close ends the feed. It is called by the goroutine that calls Take, after the last Take.
func (f *Feed) Close() {
	if f.cancel != nil {
		f.cancel()
	}
}

func isBehind(err error) bool { return errors.Is(err, owner.ErrBehind) }
