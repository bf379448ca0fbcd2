package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/session"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/tracecontext"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

const (
	// silence is how long a request may go unanswered before its id is given up
	// (Q2).
	silence = 30 * time.Second
)

// Acquire takes a lock, waiting in line if the key is held, and keeps it until it
// is released: see [Lock]. It fails with
//
//   - sharelock.ErrLockHeld when the wait is over, a *[sharelock.Error] that
//     names the holders,
//   - ctx's error when that ended first, context.DeadlineExceeded when
//     [Retry].Timeout did; the place in the queue, and a grant that may have
//     crossed, are given up in the background (see the package),
//   - [ErrUnreachable] when no node could serve; what may have been granted is given
//     up in the background, too. If the caller chose the [RequestID] it is only given up
//     when [Retry].Attempts were used up; otherwise it is left to the caller's retry, or
//     to its TTL,
//   - [sharelock.ErrWrongPort] when there is something else than a node at each address,
//   - [ErrLost] when the answers came too late for the TTL; what was granted is given up,
//   - sharelock.ErrQuota when the mesh has no room for more locks, or when the wait was over
//     before the acquire was even sent, because 24,576 calls of this client were under way at
//     one node: others are held back until there is room,
//   - sharelock.ErrRequestOver when the [RequestID] given was used before and has
//     ended, and the other errors of package sharelock.
//
// Locks are not reentrant: a second Acquire of the same key waits behind the
// first, whoever asks.
func (c *Client) Acquire(ctx context.Context, key string, opts ...Option) (*Lock, error) {
	r := request{AcquireRequest: sharelock.AcquireRequest{
		Key: key, ClientID: c.opts.ClientID, Wait: sharelock.DefaultWait,
	}}
	for _, o := range opts {
		if o != nil {
			o(&r)
		}
	}
	span := c.tracer.Call(ctx, "acquire")
	r.trace = span.Parent()
	l, err := c.acquire(ctx, r)
	span.End(err)
	if err != nil {
		return nil, fmt.Errorf("acquire %q: %w", key, err)
	}
	return l, nil
}

// TryAcquire is Acquire without waiting in line: a key that is held fails with
// sharelock.ErrLockHeld at once.
func (c *Client) TryAcquire(ctx context.Context, key string, opts ...Option) (*Lock, error) {
	return c.Acquire(ctx, key, append(slices.Clip(opts), Wait(0))...)
}

// Do runs fn while it holds the key. The context that fn gets ends shortly before
// the lock can be lost, with the cause. Do returns fn's error joined with
// [ErrLost] if the lock was lost meanwhile, or with the error of the release.
func (c *Client) Do(ctx context.Context, key string, fn func(ctx context.Context, l *Lock) error, opts ...Option) (err error) {
	l, err := c.Acquire(ctx, key, opts...)
	if err != nil {
		return err
	}
	// Deferred, so that a panic of fn leaves no lock behind; and with a context of
	// its own, since a cancelled caller wants the lock released all the more.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opts.Patience)
		defer cancel()
		err = errors.Join(err, l.Release(ctx))
	}()
	held, cancel := l.Context(ctx)
	defer cancel()
	return fn(held, l)
}

func (c *Client) acquire(ctx context.Context, r request) (*Lock, error) {
	if err := check(r.AcquireRequest); err != nil {
		return nil, err
	}
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	a := newAcquisition(c, r)
	a.bound = true
	defer a.queued.end()
	err := c.call(ctx, bounds{key: r.Key, until: a.started + max(r.Wait, 0), waits: r.Wait != 0, began: a.started, life: c.life}, a.send)
	if err == nil && c.life.Err() == nil {
		return c.keeper.add(a.granted, a.deadline, a.sends == 1 && !a.ownID, r.noRenew), nil
	}
	if err == nil {
		err, a.loose = ErrClosed, 1 // the grant came too late to be kept
	}
	if a.loose > 0 && a.abandons(ctx, err) {
		a.fence()
	}
	return nil, err
}

// abandons reports whether an acquire that failed with err is given up. If the caller chose
// the request id and no node could be reached, a grant or a place is left to the caller's
// retry, and an id that was silent for too long is never sent again (Q2).
func (a *acquisition) abandons(ctx context.Context, err error) bool {
	if !a.ownID {
		return true
	}
	ended := ctx.Err() != nil || a.c.life.Err() != nil
	return a.c.now()-a.alive <= silence && (ended || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, context.Canceled) || errors.Is(err, errAttempts))
}

// check refuses early what every node would refuse.
func check(r sharelock.AcquireRequest) error {
	if err := sharelock.CheckKey(r.Key); err != nil {
		return err
	}
	if err := sharelock.CheckClientID(r.ClientID); err != nil {
		return err
	}
	if err := sharelock.CheckMaxHold(r.MaxHold); err != nil {
		return err
	}
	return sharelock.CheckMetadata(r.Metadata)
}

// acquisition is one acquire under way: one request id, sent as often as it takes.
type acquisition struct {
	c   *Client
	req sharelock.AcquireRequest
	// ownID: the caller chose the request id; it is not for us to change.
	ownID bool
	// wait is the caller's; negative is the node's default.
	wait    time.Duration
	started time.Duration
	// sends is how often this request id was sent. loose is how many of those sends the
	// key's owner has not answered, so that they may still be granted, or were.
	sends, loose int
	// alive is the last time at which a node was known to work on this request id.
	alive time.Duration
	// slow is an [errTooSlow] if an answer came after the lock had run out.
	slow error
	// bound: an attempt ends with the client.
	bound bool
	// queued is told where it stands in line; nil is nobody.
	queued *positions
	trace  *tracecontext.Parent

	granted  sharelock.Hold
	deadline time.Duration
}

func newAcquisition(c *Client, r request) *acquisition {
	a := &acquisition{
		c: c, req: r.AcquireRequest, ownID: r.AcquireRequest.RequestID != "", wait: r.AcquireRequest.Wait, started: c.recent(),
	}
	a.req.Metadata = maps.Clone(r.Metadata)
	a.queued, a.trace = newPositions(r.onQueued), r.trace
	a.alive = a.started
	if !a.ownID {
		a.req.RequestID = c.ids.next()
	}
	return a
}

// renewID begins a new request. Nothing is left of the one before.
func (a *acquisition) renewID() {
	if a.loose > 0 {
		a.fence()
	}
	a.loose = 0
	a.req.RequestID = a.c.ids.next()
	a.sends, a.alive = 0, a.c.now()
}

// send is one attempt.
func (a *acquisition) send(ctx context.Context, n *node, sent time.Duration) error {
	if a.sends > 0 && sent-a.alive > silence {
		// The pause before this send was too long.
		if err := a.abandon(errPaused); err != nil {
			return err
		}
	}
	if a.wait >= 0 {
		a.req.Wait = max(a.wait-(sent-a.started), 0)
	}
	a.sends++
	a.loose++
	// Q3: this number names the send whose answer comes back, since every send is a
	// call of its own.
	hold, now, err := n.session.DoQueued(ctx, a.bound, &sessionwire.Call{
		Kind: sessionwire.CallAcquire, AcquireRequest: a.req, Tell: a.queued != nil && a.req.Wait != 0, Trace: a.trace,
	}, a.queued.teller())
	if err != nil {
		return a.failed(err, sent, now)
	}
	hold.Key, hold.ClientID, hold.RequestID = a.req.Key, a.req.ClientID, a.req.RequestID
	hold.Mode, hold.Slots, hold.Metadata = a.req.Mode, a.req.Slots, a.req.Metadata
	if err := plausible(hold, 0); err != nil {
		return err
	}
	a.loose--
	a.c.owners.saw(hold.Token.Epoch())
	a.granted, a.deadline = hold, sent+hold.SafeFor
	if now >= a.deadline {
		// The answer outlived the lock. The same request id finds the grant if there
		// still is one, and renews it.
		a.alive = a.c.pulse.ran(sent, now)
		a.loose++
		a.slow = fmt.Errorf("%w: the answer took %v, the lock was safe for %v", errTooSlow, now-sent, hold.SafeFor)
		return again{err: a.slow, away: true}
	}
	return nil
}

// failed looks at an attempt without a grant: whether a new request id must, and
// may, be used for the next.
func (a *acquisition) failed(err error, sent, now time.Duration) error {
	word := sharelockv1.FromError(err)
	over := errors.Is(word, sharelock.ErrRequestOver)
	switch {
	case over, a.req.Wait > 0 && errors.Is(word, sharelock.ErrLockHeld):
		a.loose = 0 // Q2: the id is over, for every send of it
	case answered(word), session.Unsent(err):
		a.loose--
	}
	if over && !a.ownID {
		// An earlier send of this id, of ours or of the node's, was granted or given up
		// and has ended while no answer reached us. What remains is to ask anew.
		a.renewID()
		if a.slow != nil {
			err = a.slow // the grant has ended before it could be repeated
		}
		return again{err: err}
	}
	if ran := a.c.pulse.ran(sent, now); ran < now {
		a.alive = ran // silence counts from the last moment before the gap
	} else if now-sent > unseen {
		a.alive = now - unseen
	}
	if now-a.alive > silence {
		if abandoned := a.abandon(err); abandoned != nil {
			return abandoned
		}
	}
	return err
}

// abandon gives up a request id that went unanswered for too long, whose last failure
// was err: it is never sent again (Q2). It fails if there cannot be another.
func (a *acquisition) abandon(err error) error {
	if a.ownID {
		return fmt.Errorf("%w: request id %q got no answer for %v: %w", ErrUnreachable, a.req.RequestID, silence, err)
	}
	a.renewID()
	return nil
}

// plausible refuses an answer that cannot be one.
func plausible(h sharelock.Hold, token sharelock.Token) error {
	if h.Token == 0 || (token != 0 && h.Token != token) || h.TTL <= 0 {
		return fmt.Errorf("%w: the answer for key %q names token %v, ttl %v", sharelock.ErrInternal, h.Key, h.Token, h.TTL)
	}
	return nil
}
