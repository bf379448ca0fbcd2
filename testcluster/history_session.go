package testcluster

import (
	"context"
	"sync"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// interceptStream writes down every call of a client's sessions.
func (h *History) interceptStream(name string, rate float64) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		s, err := next(ctx, desc, cc, method, opts...)
		if err != nil || method != sharelockv1.LockService_Session_FullMethodName {
			return s, err
		}
		return &recorded{ClientStream: s, history: h, client: name, rate: rate, calls: map[uint64]*Call{}}, nil
	}
}

// recorded is a session whose calls are written down.
type recorded struct {
	grpc.ClientStream
	history *History
	client  string
	rate    float64

	mu    sync.Mutex
	calls map[uint64]*Call // under way; guarded by mu
}

// SendMsg implements grpc.ClientStream.
func (r *recorded) SendMsg(m any) error {
	var (
		reader sharelockv1.CallReader
		c      sharelockv1.Call
	)
	reader.Reset(m.(*sharelockv1.Frame).Data)
	for {
		more, err := reader.Next(&c)
		if err != nil {
			return err
		}
		if !more {
			return r.ClientStream.SendMsg(m)
		}
		r.sent(&c)
	}
}

func (r *recorded) sent(c *sharelockv1.Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	call := Call{Client: r.client, rate: r.rate, Key: c.Acquire.Key}
	switch c.Kind {
	case sharelockv1.CallAcquire:
		call.Op, call.RequestID, call.Mode, call.Slots = Acquire, c.Acquire.RequestID, c.Acquire.Mode, c.Acquire.Slots
	case sharelockv1.CallRenew:
		call.Op, call.Token = Renew, c.Token
	case sharelockv1.CallRelease:
		call.Op, call.Token = Release, c.Token
	case sharelockv1.CallCancel:
		// The client does not look at its answer any more.
		if given := r.calls[c.ID]; given != nil {
			delete(r.calls, c.ID)
			r.history.end(given, func(c *Call) { c.Err = context.Canceled })
		}
		return
	}
	r.calls[c.ID] = r.history.begin(call)
}

// RecvMsg implements grpc.ClientStream.
func (r *recorded) RecvMsg(m any) error {
	err := r.ClientStream.RecvMsg(m)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		for id, c := range r.calls {
			delete(r.calls, id)
			r.history.end(c, func(c *Call) { c.Err = sharelockv1.FromError(err) })
		}
		return err
	}
	var (
		reader sharelockv1.ReplyReader
		reply  sharelockv1.Reply
	)
	reader.Reset(m.(*sharelockv1.Frame).Data)
	for {
		more, err := reader.Next(&reply)
		if err != nil || !more {
			return err
		}
		if c := r.calls[reply.ID]; c != nil {
			delete(r.calls, reply.ID)
			r.history.end(c, func(c *Call) { c.answered(&reply) })
		}
	}
}

// answered reads the answer to a call of a session.
func (c *Call) answered(a *sharelockv1.Reply) {
	if a.Status != nil {
		var p spb.Status
		if err := proto.Unmarshal(a.Status, &p); err != nil {
			c.Err = err
			return
		}
		c.Err = sharelockv1.FromError(status.ErrorProto(&p))
		return
	}
	switch c.Op {
	case Acquire:
		c.Token = a.Hold.Token
		c.safeFor(a.Hold.SafeFor)
	case Renew:
		c.safeFor(a.Hold.SafeFor)
	}
}
