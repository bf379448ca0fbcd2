package client

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/tracecontext"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// unary makes a call of a session as a unary call, for a node that knows no sessions. If bound is set the call
// ends when Close begins, otherwise when Close stops waiting for cleanups.
func (c *Client) unary(ctx context.Context, n *node, bound bool, call *sessionwire.Call) (sharelock.Hold, error) {
	life := c.cleanup
	if bound {
		life = c.life
	}
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, answerWithin(call))
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	hold, err := c.invoke(ctx, n, call)
	if err != nil {
		awaitOverdue(ctx)
	}
	if err != nil && outer.Err() == nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = n.mute()
	}
	return hold, err
}

// longestWait is taken for the wait of an acquire that leaves its wait to the mesh.
const longestWait = 10 * time.Minute

// answerWithin returns the longest time in which a node answers a call.
func answerWithin(call *sessionwire.Call) time.Duration {
	switch wait := call.Wait; {
	case call.Kind != sessionwire.CallAcquire:
		return answerTime
	case wait < 0:
		return longestWait + answerTime
	default:
		return wait + answerTime
	}
}

// invoke makes the call.
func (c *Client) invoke(ctx context.Context, n *node, call *sessionwire.Call) (sharelock.Hold, error) {
	if call.Kind == sessionwire.CallAcquire {
		stop := c.pulse.keep(c.now)
		defer stop()
	}
	ctx = withTrace(ctx, call.Trace)
	a := &call.AcquireRequest
	switch call.Kind {
	case sessionwire.CallAcquire:
		req := &sharelockv1.AcquireRequest{
			Key: a.Key, ClientId: a.ClientID, RequestId: a.RequestID, Mode: sharelockv1.ModeToProto(a.Mode), Slots: a.Slots, Metadata: a.Metadata,
		}
		if a.TTL != 0 {
			req.Ttl = durationpb.New(a.TTL)
		}
		if a.MaxHold != 0 {
			req.MaxHold = durationpb.New(a.MaxHold)
		}
		if a.Wait >= 0 {
			req.Wait = durationpb.New(a.Wait)
		}
		resp, err := n.locks.Acquire(ctx, req)
		return sharelockv1.HoldFromProto(resp.GetHold()), err
	case sessionwire.CallGiveUp:
		_, err := n.locks.GiveUp(ctx, &sharelockv1.GiveUpRequest{Key: a.Key, ClientId: a.ClientID, RequestId: a.RequestID})
		return sharelock.Hold{}, err
	case sessionwire.CallRenew:
		resp, err := n.locks.Renew(ctx, renewRequest(a.Key, call.Token, a.TTL, a.Metadata))
		return sharelockv1.HoldFromProto(resp.GetHold()), err
	default:
		resp, err := n.locks.Release(ctx, &sharelockv1.ReleaseRequest{Key: a.Key, Token: uint64(call.Token), SentOnce: call.SentOnce})
		return sharelockv1.HoldFromProto(resp.GetHold()), err
	}
}

// withTrace returns a context for a call of gRPC with the span of the call, if it is traced.
func withTrace(ctx context.Context, p *tracecontext.Parent) context.Context {
	if p == nil {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, tracecontext.Header, p.String())
}

// renewRequest returns the request of a renewal. Nil metadata keeps what the hold has; empty metadata removes it.
func renewRequest(key string, token sharelock.Token, ttl time.Duration, metadata map[string]string) *sharelockv1.RenewRequest {
	req := &sharelockv1.RenewRequest{
		Key: key, Token: uint64(token), Metadata: metadata, ClearMetadata: metadata != nil && len(metadata) == 0,
	}
	if ttl != 0 {
		req.Ttl = durationpb.New(ttl)
	}
	return req
}
