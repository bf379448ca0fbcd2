package client

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

const (
	// backTime bounds a Release whose context had ended before it was called.
	backTime = 3 * time.Second
	// quietClose is how long Close waits without progress in releases and give-ups while no node can be
	// reached, and changeClose while one can: after a crash the others may be agreeing on a new view.
	// longestClose bounds the whole wait, and lookClose is the interval of the checks.
	quietClose   = 3 * time.Second
	changeClose  = 10 * time.Second
	longestClose = 30 * time.Second
	lookClose    = time.Second
)

// answered reports whether err is the answer of the key's owner to a send. Otherwise the send may still be on
// its way to the owner, or its answer was lost.
func answered(err error) bool {
	for _, word := range []error{
		sharelock.ErrLockHeld, sharelock.ErrInvalidArgument, sharelock.ErrUnauthenticated, sharelock.ErrPermissionDenied,
		sharelock.ErrModeConflict, sharelock.ErrRequestOver, sharelock.ErrTooManyWaiters, sharelock.ErrQuota,
		sharelock.ErrQuarantined, sharelock.ErrMessageTooLarge,
	} {
		if errors.Is(err, word) {
			return true
		}
	}
	return false
}

// fence abandons the request id in the background. The owner removes its waiter or its hold,
// and remembers the id as over, so that an acquire that is still in flight is refused and no
// hold is left that the client does not know (Q2, Q6). The caller must have entered the client.
func (a *acquisition) fence() {
	g := &givingUp{c: a.c, req: sharelock.AcquireRequest{
		Key: a.req.Key, ClientID: a.req.ClientID, RequestID: a.req.RequestID,
		TTL: a.req.TTL, Mode: a.req.Mode, Slots: a.req.Slots,
	}}
	a.c.work.Go(g.run)
}

// givingUp is the work of giving up one request id.
type givingUp struct {
	c   *Client
	req sharelock.AcquireRequest
	// old is set if the node asked last does not know GiveUp.
	old bool
}

func (g *givingUp) run() {
	c := g.c
	// The limits of the options do not apply: the acquire has used them up. After FenceTime no send of the
	// request can reach the owner of the key any more (Q1).
	b := bounds{key: g.req.Key, until: c.now() + rules.FenceTime, hard: true}
	err := c.call(c.cleanup, b, g.send)
	if err != nil && !errors.Is(err, sharelock.ErrRequestOver) && !errors.Is(err, sharelock.ErrLockHeld) {
		c.log.warn("acquire given up without an answer", "key", g.req.Key, "err", err)
		return
	}
	c.gaveBack.Add(1)
}

// send is one attempt.
func (g *givingUp) send(ctx context.Context, n *node, _ time.Duration) error {
	if !g.old {
		_, _, err := n.session.Do(ctx, false, &sessionwire.Call{Kind: sessionwire.CallGiveUp, AcquireRequest: g.req})
		switch word := sharelockv1.FromError(err); {
		case errors.Is(word, sharelock.ErrQuota):
			return again{err: err} // Q6: the owner has no room for another fence now
		case status.Code(err) == codes.Unimplemented, unknownCall(word):
			g.old = true
		default:
			return err
		}
	}
	return g.sendOld(ctx, n)
}

// unknownCall reports whether a node of an earlier release has refused a call of a session
// because it does not know it.
func unknownCall(err error) bool {
	e, ok := errors.AsType[*sharelock.Error](err)
	return ok && errors.Is(e, sharelock.ErrInvalidArgument) && e.Field == "call"
}

// sendOld gives up at a node that does not know GiveUp. Repeating the acquire with a wait of zero ends its place
// in the queue, or returns its grant, which is then released.
func (g *givingUp) sendOld(ctx context.Context, n *node) error {
	g.old = false // the next attempt may reach another node
	req := g.req
	req.Wait = 0
	hold, _, err := n.session.Do(ctx, false, &sessionwire.Call{Kind: sessionwire.CallAcquire, AcquireRequest: req})
	if err != nil {
		return err
	}
	_, _, err = n.session.Do(ctx, false, &sessionwire.Call{
		Kind: sessionwire.CallRelease, AcquireRequest: sharelock.AcquireRequest{Key: req.Key}, Token: hold.Token,
	})
	if gone(sharelockv1.FromError(err)) {
		return nil
	}
	return err
}
