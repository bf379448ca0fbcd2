package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/secure"
	"github.com/sgkandale/sharelock/internal/intconv"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

const (
	// A node that does not answer pings is taken for gone; gRPC allows no shorter
	// times.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 3 * time.Second
	// unseen is the longest a node can be gone before a call to it fails.
	unseen = keepaliveTime + keepaliveTimeout

	// answerTime is the longest that a call waits for the answer of a node beyond the wait of an acquire: a
	// node answers after 10 s at most, whatever it says. Something in front of the nodes may take calls and
	// hang. It is less than unseen, so that two such attempts count as failures in a row. answerLate is
	// that for the calls of programs for people, which may ask every member of the mesh.
	answerTime = 12 * time.Second
	answerLate = time.Minute

	// What a stream and a connection may have under way, in bytes. Fixed, as at the node:
	// gRPC would ping with every message to find out what they could be.
	streamWindow = 256 << 10
	connWindow   = 1 << 20
)

// bounds limit a call beside its context.
type bounds struct {
	// key is what the call is about: it goes to the key's owner, if that is known.
	key string
	// until is the time by the client's clock up to which the call looks for a node
	// that can serve, when that is later than the patience allows; 0 is never.
	until time.Duration
	// hard: until alone counts, whatever the options say of patience and retries.
	hard bool
	// attempts is how many the call may make even if the options allow fewer.
	attempts int
	// waits: a node may keep the call waiting for as long as it was told to.
	waits bool
	// began is the time now if the caller has just read it; 0 if not.
	began time.Duration
	// life ends the call besides its context; nil is none. So that a context need not
	// be derived for every call.
	life context.Context //nolint:containedctx // a lifetime
	// answer is the longest time in which a node answers an attempt, whatever it says; 0 is no limit.
	answer time.Duration
	// attempt, if not nil, is used instead of answer: it returns the longest time of the next attempt.
	attempt func() time.Duration
}

// again wraps the error of an attempt that shall be repeated although the error
// alone would not say so.
type again struct {
	err error
	// away: by another node.
	away bool
}

func (a again) Error() string { return a.err.Error() }
func (a again) Unwrap() error { return a.err }

// call makes attempts, each on one node, until one succeeds or fails for good. An
// attempt that did not get through moves all calls to the next address; after
// every round of all addresses the call backs off. It returns ctx's error when
// ctx has ended and no answer came. How often, and for how long, is up to [Retry]
// and the bounds.
//
// attempt gets the time at which it is made, and is expected to return the raw
// error of gRPC.
func (c *Client) call(ctx context.Context, b bounds, attempt func(context.Context, *node, time.Duration) error) error {
	f := failures{retry: c.opts.Retry, patience: c.opts.Patience, connect: c.connectTime, b: b}
	if b.hard {
		f.retry = Retry{}.withDefaults()
	}
	if f.retry.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, f.retry.Timeout, errTimeout)
		defer cancel()
	}
	// replaced is set once a refused token was replaced, replacedAt is when that was last.
	var (
		replaced   bool
		replacedAt time.Duration
	)
	for wrong := 0; ; {
		if err := b.ended(ctx); err != nil {
			return because(err, f.last)
		}
		all := *c.all.Load()
		i, sent := c.address(all), b.began
		f.round = len(all)
		if b.began = 0; sent == 0 {
			sent = c.now()
		}
		n, direct := c.owners.of(b.key), true
		if n == nil {
			n, direct = all[i], false
		}
		token := c.credential.Newest()
		raw, timedOut := c.try(ctx, b, n, sent, attempt)
		if raw == nil {
			return nil
		}
		if c.now()-sent < c.connectTime { // otherwise it has said nothing
			if wrong := n.session.Diagnose(ctx, raw); wrong != nil {
				raw = wrong
			}
		}
		awaitOverdue(ctx)
		if err := b.ended(ctx); err != nil {
			return because(err, f.last)
		}
		// Renewals go on for as long as the lock can be saved, so each asks for another token. A call
		// that lasts, such as a watch, may outlive several tokens.
		may := !replaced || c.now()-replacedAt > replaceInterval
		if (may || b.hard) && c.replaceToken(ctx, b, raw, token) && may {
			replaced, replacedAt = true, c.now()
			continue
		}
		repeat, away, err := verdict(raw, timedOut)
		if wrong++; !useless(err) {
			wrong = 0 // there may be a node
		}
		// What is under way until a deadline goes on: something in front of the nodes may have
		// answered in their place.
		if !repeat || wrong >= len(all) && !b.hard {
			return unusable(err)
		}
		switch {
		case away && direct:
			c.owners.doubt(n) // and go by the addresses that were given
		case away:
			c.owners.doubt(n)
			c.current.CompareAndSwap(i, (i+1)%intconv.Uint32(len(all)))
		}
		failed := c.now()
		if timedOut && b.attempt == nil {
			sent = failed // it was not known before that the node does not answer
		}
		wait, err := f.add(err, sent, failed)
		if err != nil {
			return err
		}
		if wait == 0 {
			continue
		}
		if err := b.pause(ctx, wait); err != nil {
			return because(err, f.last)
		}
	}
}

// address is the index in all of the node that calls go to: the current one, or, if it could
// not serve just now, the next that calls have not left.
func (c *Client) address(all []*node) uint32 {
	i, count := c.current.Load(), intconv.Uint32(len(all))
	if i >= count {
		// There were more.
		c.current.CompareAndSwap(i, 0)
		i = 0
	}
	for k := range count {
		next := (i + k) % count
		if c.shuns(all[next]) {
			continue
		}
		if k > 0 {
			c.current.CompareAndSwap(i, next)
		}
		return next
	}
	return i
}

// nodeFor is the node that a call about a key goes to.
func (c *Client) nodeFor(key string) *node {
	if n := c.owners.of(key); n != nil {
		return n
	}
	all := *c.all.Load()
	return all[c.address(all)]
}

// try makes one attempt and reports whether it ran into its own limit.
func (c *Client) try(ctx context.Context, b bounds, n *node, sent time.Duration, attempt func(context.Context, *node, time.Duration) error) (err error, timedOut bool) {
	limit := b.answer
	if b.attempt != nil {
		limit = b.attempt()
	} else if limit == 0 {
		return attempt(ctx, n, sent), false
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err = attempt(limited, n, sent); err != nil {
		awaitOverdue(limited)
	}
	timedOut = err != nil && limited.Err() != nil
	if timedOut && b.attempt == nil && ctx.Err() == nil {
		err = n.mute()
	}
	return err, timedOut
}

// awaitOverdue waits until a context has ended whose deadline has passed. A node knows the deadline of a
// call, and may end it before this process has noticed.
func awaitOverdue(ctx context.Context) {
	if end, ok := ctx.Deadline(); ok && !time.Now().Before(end) {
		<-ctx.Done()
	}
}

// mute is the error of a call that the node has taken and not answered.
func (n *node) mute() error {
	return status.Errorf(codes.Unavailable, "%s accepts calls but does not answer", n.addr)
}

// verdict says whether an attempt is to be repeated, whether by another node, and
// what its error means.
func verdict(raw error, timedOut bool) (repeat, away bool, err error) {
	if a, ok := errors.AsType[again](raw); ok {
		return true, a.away || timedOut, sharelockv1.FromError(a.err)
	}
	if none, ok := errors.AsType[*secure.TokenError](raw); ok {
		return false, false, none
	}
	err = sharelockv1.FromError(raw)
	switch {
	case timedOut:
		return true, true, err
	case errors.Is(err, sharelock.ErrWrongPort):
		return true, true, err
	case errors.Is(err, ErrUnreachable):
		return false, false, err
	case errors.Is(err, sharelock.ErrQuarantined):
		// The owner itself says so: no other node knows better, and the wait is over.
		return false, false, err
	default:
		// Canceled, though the caller's context goes on: the node ended at once, or
		// something between it and us did it.
		code := status.Code(raw)
		unavailable := code == codes.Unavailable || code == codes.Canceled
		return unavailable, unavailable, err
	}
}

// ended is why a call must stop, if it must: its context ended, or the client.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	switch {
	case err == nil:
		return nil
	case errors.Is(cause, ErrClosed), errors.Is(cause, err):
		return cause
	default:
		return fmt.Errorf("%w: %w", err, cause)
	}
}

// ended is why the call must stop, if it must.
func (b bounds) ended(ctx context.Context) error {
	if b.life != nil && b.life.Err() != nil {
		return ErrClosed
	}
	return ended(ctx)
}

// over is closed with it.
func (b bounds) over() <-chan struct{} {
	if b.life == nil {
		return nil
	}
	return b.life.Done()
}

// pause waits for d or the end of the call.
func (b bounds) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
	case <-b.over():
	}
	return b.ended(ctx)
}

// enter counts a call of the user's, so that Close waits until its leave. It fails
// once Close has begun.
func (c *Client) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.work.Add(1)
	return nil
}

func (c *Client) leave() { c.work.Done() }

// begin is enter for a call whose context has to end with the client, too.
func (c *Client) begin(ctx context.Context) (bound context.Context, done func(), err error) {
	if err := c.enter(); err != nil {
		return nil, nil, err
	}
	bound, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.life, func() { cancel(ErrClosed) })
	return bound, func() {
		stop()
		cancel(nil)
		c.leave()
	}, nil
}

// do is call for what the user called: it ends with the client, too.
func (c *Client) do(ctx context.Context, b bounds, attempt func(context.Context, *node) error) error {
	ctx, done, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	return c.call(ctx, b, func(ctx context.Context, n *node, _ time.Duration) error { return attempt(ctx, n) })
}
