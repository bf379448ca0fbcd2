package api

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/event"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
)

// Watcher lets callers follow keys; a mesh node implements it.
type Watcher interface {
	// Watch calls send with the events of the keys of a request, in this goroutine, until ctx ends or
	// send fails. A slow send costs events: the watch then gets a reset and starts again. send must
	// not change the events.
	Watch(ctx context.Context, r sharelock.WatchRequest, send func([]*event.Event) error) error
}

// stallTime is how long a watch stays open while its client does not read.
const stallTime = 30 * time.Second

// errNotRead ends a watch whose client does not read.
var errNotRead = &sharelock.Error{Err: sharelock.ErrNotReady, Message: fmt.Sprintf("the watch was not read for %v", stallTime)}

// Watch implements LockService.
func (s *locks) Watch(m *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchEvent]) error {
	err := s.watch(m, stream)
	if err != nil {
		logInternal(s.log, pb.LockService_Watch_FullMethodName, err)
		return pb.ToStatus(err).Err()
	}
	return nil
}

// watch sends events in a goroutine of its own: a send blocks for as long as the client does not
// read, and only the end of the call unblocks it.
func (s *locks) watch(m *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchEvent]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	var sending atomic.Int64 // start of the current send, in nanoseconds since began; 0 if there is none
	began := time.Now()
	ended := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				ended <- panicked(s.log, pb.LockService_Watch_FullMethodName, p)
			}
		}()
		ended <- s.gate.Watch(ctx, watchRequest(m), s.watcher.Watch, func(events []*event.Event) error {
			for _, e := range events {
				sending.Store(int64(time.Since(began)) + 1)
				if err := stream.SendMsg(&sessionwire.Frame{Data: e.Form(event.Message, sessionwire.AppendEvent)}); err != nil {
					return err
				}
			}
			sending.Store(0)
			return nil
		})
	}()
	look := time.NewTicker(stallTime / 6)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-s.drain:
			return &sharelock.Error{Err: sharelock.ErrNotReady, Message: "the node stops"}
		case <-look.C:
			if since := sending.Load(); since != 0 && time.Since(began)-time.Duration(since) > stallTime {
				return errNotRead
			}
		}
	}
}

func watchRequest(m *pb.WatchRequest) sharelock.WatchRequest {
	return sharelock.WatchRequest{Key: m.GetKey(), Prefix: m.GetPrefix(), Resume: m.GetResume()}
}
