package peer

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// bringUp makes a member that is behind install this node's view, which A1 requires before the
// member handles the message. It fails with owner.ErrBehind if this node is the one that is behind.
func (p *Client) bringUp(ctx context.Context, m ring.Member, theirs uint32) error {
	a := p.cfg.Views.Now()
	if a == nil || theirs >= a.Epoch { // an activation may be ahead of Views.Now
		return owner.ErrBehind
	}
	return p.Install(ctx, m, a.State)
}

// refusal marks errors that are a member's answer, unlike errors that mean that no answer came
// (V6).
func refusal(err error) error {
	switch status.Code(err) {
	case codes.OK, codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return err
	case codes.Aborted: // it is in another epoch
		return fmt.Errorf("%w: %w", owner.ErrBehind, err)
	default:
		return fmt.Errorf("%w: %w", owner.ErrRefused, err)
	}
}

// Ask implements owner.Peers.
func (p *Client) Ask(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) ([]owner.Held, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Views.Lease())
	defer cancel()
	var held []owner.Held
	// The size of what is relayed is bounded (V6a).
	for part := range slices.Chunk(partitions, askedAtOnce) {
		got, err := p.ask(ctx, to, epoch, part)
		if err != nil {
			return nil, err
		}
		held = append(held, got...)
	}
	return held, nil
}

// askedAtOnce is the maximum number of partitions in one Ask or Active, so that the answer fits
// into a parcel.
const askedAtOnce = 8192

func (p *Client) ask(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) ([]owner.Held, error) {
	for {
		resp := &peerv1.AskResponse{}
		req := &peerv1.AskRequest{Epoch: epoch, Partitions: partitions}
		if err := p.invoke(ctx, to, epoch, peerv1.PeerService_Ask_FullMethodName, req, resp); err != nil {
			return nil, refusal(err)
		}
		if resp.GetEpoch() == epoch {
			return heldFromProto(resp.GetHeld()), nil
		}
		if err := p.bringUp(ctx, to, resp.GetEpoch()); err != nil {
			return nil, err
		}
	}
}

// Fetch implements owner.Peers.
func (p *Client) Fetch(ctx context.Context, to ring.Member, epoch uint32, wants []owner.Want) ([]owner.Piece, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Views.Lease())
	defer cancel()
	resp := &peerv1.FetchResponse{}
	req := &peerv1.FetchRequest{Epoch: epoch, Wants: wantsToProto(wants)}
	if err := p.invoke(ctx, to, epoch, peerv1.PeerService_Fetch_FullMethodName, req, resp); err != nil {
		return nil, refusal(err)
	}
	if err := p.sameEpoch(ctx, to, epoch, resp.GetEpoch()); err != nil {
		return nil, err
	}
	return piecesFromProto(resp.GetPieces()), nil
}

// Sync implements owner.Peers.
func (p *Client) Sync(ctx context.Context, to ring.Member, epoch uint32, bases []owner.Base) ([]owner.Taken, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Views.Lease())
	defer cancel()
	out, c, err := p.at(ctx, to.Peer, to.Identity)
	if err != nil {
		return nil, err
	}
	resp, err := c.Sync(out, &peerv1.SyncRequest{Epoch: epoch, Bases: basesToProto(bases)})
	if err != nil {
		return nil, refusal(err)
	}
	if err := p.sameEpoch(ctx, to, epoch, resp.GetEpoch()); err != nil {
		return nil, err
	}
	return takenFromProto(resp.GetTaken()), nil
}

// sameEpoch checks the epoch in which a member has answered. In another epoch the member has done
// nothing. If the member was behind, sameEpoch brings it up, and the caller has to ask again.
func (p *Client) sameEpoch(ctx context.Context, m ring.Member, epoch, theirs uint32) error {
	if theirs == epoch {
		return nil
	}
	if err := p.bringUp(ctx, m, theirs); err != nil {
		return err
	}
	return owner.ErrBehind
}

// Active implements owner.Peers.
func (p *Client) Active(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Views.Lease())
	defer cancel()
	for part := range slices.Chunk(partitions, askedAtOnce) {
		resp := &peerv1.ActiveResponse{}
		req := &peerv1.ActiveRequest{Epoch: epoch, Partitions: part}
		if err := p.invoke(ctx, to, epoch, peerv1.PeerService_Active_FullMethodName, req, resp); err != nil {
			return refusal(err)
		}
		if err := p.sameEpoch(ctx, to, epoch, resp.GetEpoch()); err != nil {
			return err
		}
	}
	return nil
}
