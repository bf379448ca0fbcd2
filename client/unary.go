package client

import (
	"context"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// unary makes a call of a session as a call of its own, for a node that knows no
// sessions. bound: the beginning of Close ends it, otherwise only the end of what Close
// waits for does.
func (n *node) unary(ctx context.Context, bound bool, c *sharelockv1.Call) (sharelock.Hold, error) {
	life := n.cleanup
	if bound {
		life = n.life
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	if c.Kind == sharelockv1.CallAcquire {
		stop := n.session.keeper.c.pulse.keep(n.session.now)
		defer stop()
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
	case sharelockv1.CallGiveUp:
		_, err := n.locks.GiveUp(ctx, &sharelockv1.GiveUpRequest{Key: a.Key, ClientId: a.ClientID, RequestId: a.RequestID})
		return sharelock.Hold{}, err
	case sharelockv1.CallRenew:
		req := &sharelockv1.RenewRequest{Key: a.Key, Token: uint64(c.Token)}
		if a.TTL != 0 {
			req.Ttl = durationpb.New(a.TTL)
		}
		resp, err := n.locks.Renew(ctx, req)
		return sharelockv1.HoldFromProto(resp.GetHold()), err
	default:
		resp, err := n.locks.Release(ctx, &sharelockv1.ReleaseRequest{Key: a.Key, Token: uint64(c.Token), SentOnce: c.SentOnce})
		return sharelockv1.HoldFromProto(resp.GetHold()), err
	}
}
