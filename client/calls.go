package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// Get shows who holds a key and who waits for it. A key that nobody holds and
// nobody waits for is sharelock.ErrNotHeld.
func (c *Client) Get(ctx context.Context, key string) (sharelock.KeyState, error) {
	var lock sharelock.KeyState
	err := c.do(ctx, bounds{answer: answerTime}, func(ctx context.Context, n *node) error {
		resp, err := n.locks.Get(ctx, &sharelockv1.GetRequest{Key: key})
		lock = sharelockv1.LockFromProto(resp.GetLock())
		return err
	})
	return lock, named("get", key, err)
}

// List shows one page of the keys that are held or waited for. It is put together
// from all owners and is not one moment's picture.
func (c *Client) List(ctx context.Context, r sharelock.ListRequest) (sharelock.ListPage, error) {
	if r.PageSize < 0 || r.PageSize > sharelock.MaxPageSize {
		return sharelock.ListPage{}, fmt.Errorf("list: %w", sharelock.Invalid("page_size",
			fmt.Sprintf("%d is not between 0 and %d", r.PageSize, sharelock.MaxPageSize)))
	}
	var page sharelock.ListPage
	err := c.do(ctx, bounds{answer: answerTime}, func(ctx context.Context, n *node) error {
		resp, err := n.locks.List(ctx, &sharelockv1.ListRequest{
			Prefix: r.Prefix, ClientId: r.ClientID, PageSize: intconv.Uint32(r.PageSize), PageToken: r.PageToken,
		})
		page = sharelock.ListPage{
			Locks: sharelockv1.LocksFromProto(resp.GetLocks()), NextPageToken: resp.GetNextPageToken(), Quarantined: int(resp.GetQuarantined()),
		}
		return err
	})
	if err != nil {
		return sharelock.ListPage{}, fmt.Errorf("list: %w", err)
	}
	return page, nil
}

// CheckToken says whether a token is a grant of the key now, for a resource that
// wants to know before it obeys.
func (c *Client) CheckToken(ctx context.Context, key string, token sharelock.Token) (sharelock.TokenCheck, error) {
	var check sharelock.TokenCheck
	err := c.do(ctx, bounds{answer: answerTime}, func(ctx context.Context, n *node) error {
		resp, err := n.locks.CheckToken(ctx, &sharelockv1.CheckTokenRequest{Key: key, Token: uint64(token)})
		check = sharelock.TokenCheck{
			Current: err == nil && !resp.GetStale(), Holds: sharelockv1.HoldsFromProto(resp.GetHolds()),
			HoldCount: int(resp.GetHoldCount()), WaiterCount: int(resp.GetWaiterCount()),
		}
		return err
	})
	return check, named("check token of", key, err)
}

// RenewToken starts the TTL of a hold afresh, for holds that are handed about by their
// token: a [Lock] renews itself, for its own TTL at least. ttl 0 keeps its length. Of the hold that comes
// back, SafeFor counts from a moment after RenewToken was called: past it the lock is
// lost. sharelock.ErrNotHeld and sharelock.ErrStaleToken say that it is already.
func (c *Client) RenewToken(ctx context.Context, key string, token sharelock.Token, ttl time.Duration) (sharelock.Hold, error) {
	var hold sharelock.Hold
	err := c.do(ctx, bounds{answer: answerTime}, func(ctx context.Context, n *node) (err error) {
		hold, err = renew(ctx, n, key, token, ttl)
		return err
	})
	return hold, named("renew", key, err)
}

func renew(ctx context.Context, n *node, key string, token sharelock.Token, ttl time.Duration) (sharelock.Hold, error) {
	resp, err := n.locks.Renew(ctx, renewRequest(key, token, ttl, nil))
	if err != nil {
		return sharelock.Hold{}, err
	}
	hold := sharelockv1.HoldFromProto(resp.GetHold())
	if hold.Key != key {
		return sharelock.Hold{}, fmt.Errorf("%w: the answer for key %q names key %q", sharelock.ErrInternal, key, hold.Key)
	}
	return hold, plausible(hold, token)
}

// ReleaseToken gives a hold back by its token: a [Lock] has Release. A token that
// is not a grant of the key fails with sharelock.ErrNotHeld or
// sharelock.ErrStaleToken; when the answer to an earlier send was lost, that
// counts as done, and the hold that comes back is just the key and the token.
func (c *Client) ReleaseToken(ctx context.Context, key string, token sharelock.Token) (sharelock.Hold, error) {
	ctx, done, err := c.begin(ctx)
	if err != nil {
		return sharelock.Hold{}, named("release", key, err)
	}
	defer done()
	hold, err := c.release(ctx, bounds{answer: answerTime}, &releasing{key: key, token: token})
	return hold, named("release", key, err)
}

// releasing is a release under way.
type releasing struct {
	key   string
	token sharelock.Token
	// sentOnce: the acquire of this hold was sent exactly once (Q2).
	sentOnce bool
	// brief: the hold that comes back may be just the key and the token.
	brief bool
	// sends is how often the release was sent.
	sends int
}

func (c *Client) release(ctx context.Context, b bounds, r *releasing) (sharelock.Hold, error) {
	hold := sharelock.Hold{Key: r.key, Token: r.token}
	b.key = r.key
	span := c.tracer.Call(ctx, "release")
	err := c.call(ctx, b, func(ctx context.Context, n *node, _ time.Duration) error {
		r.sends++
		if r.brief {
			_, _, err := n.session.Do(ctx, false, &sessionwire.Call{
				Kind: sessionwire.CallRelease, AcquireRequest: sharelock.AcquireRequest{Key: r.key}, Token: r.token, SentOnce: r.sentOnce,
				Trace: span.Parent(),
			})
			return err
		}
		resp, err := n.locks.Release(withTrace(ctx, span.Parent()), &sharelockv1.ReleaseRequest{Key: r.key, Token: uint64(r.token), SentOnce: r.sentOnce})
		if err != nil {
			return err
		}
		hold = sharelockv1.HoldFromProto(resp.GetHold())
		return nil
	})
	// The first send may have done it and lost its answer.
	if r.sends > 1 && gone(err) {
		err = nil
	}
	span.End(err)
	return hold, err
}

// gone: the owner said that the token is no grant.
func gone(err error) bool {
	return errors.Is(err, sharelock.ErrNotHeld) || errors.Is(err, sharelock.ErrStaleToken)
}

// ForceRelease takes a hold away from its holder, or with token 0 all holds of
// the key, and gives what it took. The reason is for the mesh's log. For
// administrators.
func (c *Client) ForceRelease(ctx context.Context, key string, token sharelock.Token, reason string) ([]sharelock.Hold, error) {
	var holds []sharelock.Hold
	err := c.do(ctx, bounds{answer: answerTime}, func(ctx context.Context, n *node) error {
		resp, err := n.locks.ForceRelease(ctx, &sharelockv1.ForceReleaseRequest{Key: key, Token: uint64(token), Reason: reason})
		holds = sharelockv1.HoldsFromProto(resp.GetHolds())
		return err
	})
	return holds, named("force release of", key, err)
}

// Mesh returns the view of the mesh of the node that answers.
func (c *Client) Mesh(ctx context.Context) (sharelock.MeshState, error) {
	var mesh sharelock.MeshState
	err := c.do(ctx, bounds{answer: answerTime}, func(ctx context.Context, n *node) error {
		resp, err := n.mesh.GetMesh(ctx, &sharelockv1.GetMeshRequest{})
		mesh = sharelockv1.MeshFromProto(resp)
		return err
	})
	if err != nil {
		return sharelock.MeshState{}, fmt.Errorf("mesh: %w", err)
	}
	return mesh, nil
}

// Locate returns the owner and the backups of a key.
func (c *Client) Locate(ctx context.Context, key string) (sharelock.Location, error) {
	var where sharelock.Location
	err := c.do(ctx, bounds{answer: answerTime}, func(ctx context.Context, n *node) error {
		resp, err := n.mesh.Locate(ctx, &sharelockv1.LocateRequest{Key: key})
		where = sharelockv1.LocationFromProto(resp)
		return err
	})
	return where, named("locate", key, err)
}

// Leave makes the client's node leave the mesh in good order, and returns when it
// has left. It is sent once, and only by a client with a single address: another
// node must not leave because the first one's answer was lost. For
// administrators.
//
// Only ctx bounds how long that takes: the node hands over what it has first.
//
// A node that leaves forGood will not come back: it gives up its seat (its vote), too.
func (c *Client) Leave(ctx context.Context, forGood bool) error {
	if len(c.nodes) != 1 {
		addrs := make([]string, len(c.nodes))
		for i, n := range c.nodes {
			addrs[i] = n.addr
		}
		return fmt.Errorf("leave: %w", sharelock.Invalid("server",
			"name the one node that shall leave, not "+strings.Join(addrs, ",")))
	}
	ctx, done, err := c.begin(ctx)
	if err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	defer done()
	_, err = c.nodes[0].mesh.Leave(ctx, &sharelockv1.LeaveRequest{ForGood: forGood})
	if err == nil {
		return nil
	}
	if ended := ended(ctx); ended != nil {
		return fmt.Errorf("leave: %w", ended)
	}
	repeat, _, err := verdict(err, false)
	if repeat {
		err = fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return fmt.Errorf("leave: %w", err)
}

// named adds the operation and the key to an error.
func named(op, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %q: %w", op, key, err)
}
