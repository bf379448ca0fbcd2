package testcluster

import (
	"context"
	"io"
	"net"
	"path"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// lossTime is how long a caller waits at most before it takes the connection that
// lost its message for broken; lateTime bounds the work for a message that comes
// when its caller has gone.
const (
	lossTime = time.Second
	lateTime = 5 * time.Second
)

// tap is where one process's messages to others, and what comes back, meet the
// rules.
type tap struct {
	cluster *Cluster
	from    int
}

// options put the tap into a connection.
func (t tap) options() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(t.unary), grpc.WithChainStreamInterceptor(t.stream)}
}

var errLost = status.Error(codes.Unavailable, "the message was lost")

// unary passes a call on, once, never or twice.
func (t tap) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	t.cluster.actives.saw(ctx, req)
	rules := t.cluster.rules
	to, ok := t.cluster.nodeAt(cc.Target())
	if !ok || !rules.some.Load() {
		return next(ctx, method, req, reply, cc, opts...)
	}
	kind := Kind(path.Base(method))
	there, back := rules.of(t.from, to, kind), rules.of(to, t.from, kind+" answer")
	if there.act == pass && back.act == pass {
		return next(ctx, method, req, reply, cc, opts...)
	}
	// alone is the call made for nobody who waits.
	alone := func(into any) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateTime)
		defer cancel()
		return next(ctx, method, req, into, cc, opts...)
	}
	var err error
	switch there.act {
	case drop, vanish:
		return t.lost(ctx)
	case hold, late:
		came := make(chan error, 1)
		into := proto.Clone(reply.(proto.Message))
		rules.later(there, func() { came <- alone(into) })
		select {
		case err = <-came:
			if err == nil {
				proto.Merge(reply.(proto.Message), into)
			}
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-rules.done:
			return errLost
		}
	default:
		if there.act == repeat {
			into := proto.Clone(reply.(proto.Message))
			rules.later(there, func() { _ = alone(into) })
		}
		err = next(ctx, method, req, reply, cc, opts...)
	}
	switch back.act {
	case drop, vanish:
		return t.lost(ctx)
	case hold, late:
		if !back.wait(ctx) {
			return t.lost(ctx)
		}
	}
	return err
}

// lost is what a caller hears of a message that was lost.
func (t tap) lost(ctx context.Context) error {
	timer := time.NewTimer(lossTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	case <-t.cluster.rules.done:
	}
	return errLost
}

// stream puts the tap into a stream.
func (t tap) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	to, ok := t.cluster.nodeAt(cc.Target())
	if !ok || method == sharelockv1.LockService_Session_FullMethodName { // for which see session
		return next(ctx, desc, cc, method, opts...)
	}
	ctx, cancel := context.WithCancel(ctx)
	s, err := next(ctx, desc, cc, method, opts...)
	if err != nil {
		cancel()
		return nil, err
	}
	return &tapped{ClientStream: s, tap: t, to: to, kind: Kind(path.Base(method)), cancel: cancel}, nil
}

// tapped is a stream of parts of one thing, whose order is kept: a message that is
// late holds up those behind it.
type tapped struct {
	grpc.ClientStream
	tap    tap
	to     int
	kind   Kind
	cancel context.CancelFunc
}

// SendMsg implements grpc.ClientStream.
func (s *tapped) SendMsg(m any) error {
	if !s.inLine(s.tap.cluster.rules.of(s.tap.from, s.to, s.kind)) {
		return io.EOF
	}
	return s.ClientStream.SendMsg(m)
}

// RecvMsg implements grpc.ClientStream.
func (s *tapped) RecvMsg(m any) error {
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	if !s.inLine(s.tap.cluster.rules.of(s.to, s.tap.from, s.kind+" answer")) {
		return errLost
	}
	return nil
}

// inLine waits until a message may go on; false if it and the stream are lost.
func (s *tapped) inLine(f fate) bool {
	switch f.act {
	case drop, vanish:
		s.cancel()
		return false
	case hold, late:
		return f.wait(s.Context())
	}
	return true
}

// nodeAt finds the node that a connection leads to.
func (c *Cluster) nodeAt(target string) (int, bool) {
	host, _, err := net.SplitHostPort(path.Base(target))
	if err != nil {
		return 0, false
	}
	for _, n := range c.all() {
		if n.place.ip == host {
			return n.index, true
		}
	}
	return 0, false
}
