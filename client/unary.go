package client

import (
	"context"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// unary makes a call of a session as a call of its own, for a node that knows no
// sessions. bound: the end of the client ends it, too.
func (n *node) unary(ctx context.Context, bound bool, c *sharelockv1.Call) (sharelock.Hold, error) {
	if bound {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(n.life, cancel)()
	}
	a := &c.Acquire
	switch c.Kind {
	case sharelockv1.CallAcquire:
		req := &sharelockv1.AcquireRequest{
			Key: a.Key, ClientId: a.ClientID, RequestId: a.RequestID, Mode: sharelockv1.ModeToProto(a.Mode), Slots: a.Slots, Metadata: a.Metadata,
		}
		if a.TTL != 0 {
			req.Ttl = durationpb.New(a.TTL)
		}
		if a.Wait >= 0 {
			req.Wait = durationpb.New(a.Wait)
		}
		resp, err := n.locks.Acquire(ctx, req)
		return sharelockv1.HoldFromProto(resp.GetHold()), err
	case sharelockv1.CallRenew:
		resp, err := n.locks.Renew(ctx, &sharelockv1.RenewRequest{Key: a.Key, Token: uint64(c.Token)})
		return sharelockv1.HoldFromProto(resp.GetHold()), err
	default:
		resp, err := n.locks.Release(ctx, &sharelockv1.ReleaseRequest{Key: a.Key, Token: uint64(c.Token), SentOnce: c.SentOnce})
		return sharelockv1.HoldFromProto(resp.GetHold()), err
	}
}
