package peer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// The calls of an activation to a leaving member go through the leader if the direct way is broken
// (V6a): the owner calls the leader's Relay, the leaving member the leader's Collect. The request
// is the same on both ways, and so are the checks of sender, receiver and epoch.

// invoke makes one call to a member. If the member is leaving and the direct call fails or takes
// long, invoke also makes the call through the leader.
func (p *Client) invoke(ctx context.Context, to ring.Member, epoch uint32, method string, req, resp proto.Message) error {
	if !to.Leaving {
		return p.direct(ctx, to, method, req, resp)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		resp    proto.Message
		relayed bool
		err     error
	}
	results := make(chan result, 2)
	running := 0
	start := func(relayed bool, call func(context.Context, proto.Message) error) {
		resp := resp.ProtoReflect().New().Interface()
		if p.cfg.Spawn(func() { results <- result{resp, relayed, call(ctx, resp)} }) {
			running++
		}
	}
	start(false, func(ctx context.Context, resp proto.Message) error { return p.direct(ctx, to, method, req, resp) })
	relayed := false
	detour := func() {
		relayed = true
		start(true, func(ctx context.Context, resp proto.Message) error {
			return p.viaLeader(ctx, to, epoch, method, req, resp)
		})
	}
	// A copy has many pieces. If a piece took the detour, the following ones begin both ways at
	// once.
	if p.detours.Since(to.String(), p.cfg.Clock()-p.cfg.Views.Lease()) {
		detour()
	}
	patience := time.NewTimer(p.cfg.Views.Lease() / 10)
	defer patience.Stop()
	err := ErrClosed
	for running > 0 || !relayed {
		select {
		case <-patience.C:
			if !relayed {
				detour()
			}
		case r := <-results:
			running--
			if r.err == nil {
				if r.relayed {
					p.detours.Note(to.String(), p.cfg.Clock())
				}
				proto.Merge(resp, r.resp)
				return nil
			}
			err = r.err
			if isAnswer(err) {
				return err
			}
			if !relayed {
				detour()
			}
		}
	}
	return err
}

// isAnswer reports whether an error came from the other process.
func isAnswer(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		return false
	}
	return true
}

// direct makes one call to a member.
func (p *Client) direct(ctx context.Context, to ring.Member, method string, req, resp proto.Message) error {
	ctx, c, err := p.dial(ctx, to.Peer, to.Identity)
	if err != nil {
		return err
	}
	return c.Invoke(ctx, method, req, resp)
}

// viaLeader makes one call to a leaving member through the leader. It repeats the call to the
// leader until a reply arrives or ctx ends; the leader may change in the meantime.
func (p *Client) viaLeader(ctx context.Context, to ring.Member, epoch uint32, method string, req, resp proto.Message) error {
	data, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(append([]byte(method), data...))
	parcel := &peerv1.Parcel{
		// The same request has the same id, so that a repeated one finds its reply.
		Id: binary.BigEndian.Uint64(hash[:]) ^ uint64(epoch), From: ringproto.EncodeIdentity(p.cfg.Self), To: ringproto.EncodeIdentity(to.Identity),
		Epoch: epoch, Method: method, Request: data,
	}
	for ctx.Err() == nil {
		reply, err := p.relay(ctx, &peerv1.RelayRequest{Parcel: parcel})
		switch {
		case err == nil && reply.GetReply() == nil:
			continue // no reply yet
		case err == nil && reply.GetReply().GetCode() != 0:
			return status.Error(codes.Code(reply.GetReply().GetCode()), reply.GetReply().GetMessage())
		case err == nil:
			return proto.Unmarshal(reply.GetReply().GetResponse(), resp)
		}
		p.cfg.Log.Debug("not relayed", "to", to.Name, "method", method, "error", err)
		rest(ctx, p.cfg.Views.Lease()/40)
	}
	return status.FromContextError(ctx.Err()).Err()
}

// rest waits for a while or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
