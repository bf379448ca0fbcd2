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

// lossTime is how long the caller of a lost message waits, at most, until its call fails as if
// the connection had broken. lateTime bounds the work for a message that arrives after its
// caller has gone.
const (
	lossTime = time.Second
	lateTime = 5 * time.Second
)

// tap applies the rules to the messages of one process to others, and to what comes back.
type tap struct {
	cluster *Cluster
	from    int
}

// options returns the dial options that put the tap into a connection.
func (t tap) options() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(t.unary)}
}

var errLost = status.Error(codes.Unavailable, "the message was lost")

// unary makes a call once, twice or not at all, as the rules say.
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
	// alone makes the call independently of its caller.
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

// lost fails as the call of a lost message does.
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

// nodeAt returns the node to which a connection leads.
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
