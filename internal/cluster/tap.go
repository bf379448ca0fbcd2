package cluster

import (
	"context"
	"net"
	"path"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
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
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(t.unary)}
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
