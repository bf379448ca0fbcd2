package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/session"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// releasesAtOnce is how many releases of ReleaseAll are under way together.
const releasesAtOnce = 64

// ReleaseAll releases every lock that the client holds, as [Lock.Release] does, and returns
// the errors of those that could not be released. Acquires that are under way go on, and the
// client can be used further. Call it before [Client.Close] if nothing works under the locks
// any more.
func (c *Client) ReleaseAll(ctx context.Context) error {
	c.keeper.mu.Lock()
	locks := slices.Clone(c.keeper.due)
	c.keeper.mu.Unlock()
	var (
		work sync.WaitGroup
		errs = make([]error, len(locks))
		next = make(chan int)
	)
	for range min(releasesAtOnce, len(locks)) {
		work.Go(func() {
			for i := range next {
				errs[i] = locks[i].Release(ctx)
			}
		})
	}
	for i := range locks {
		next <- i
	}
	close(next)
	work.Wait()
	return errors.Join(errs...)
}

// Adopt returns a [Lock] for a hold that another process has handed over by its key and
// token; from then on this client keeps it alive. The other process must not renew or release
// it any more. Adopt renews the hold, for its own TTL, and fails with sharelock.ErrNotHeld or
// sharelock.ErrStaleToken if the token is not a current grant of the key. If this client
// already holds that lock, Adopt returns it unchanged.
func (c *Client) Adopt(ctx context.Context, key string, token sharelock.Token) (*Lock, error) {
	ctx, done, err := c.begin(ctx)
	if err != nil {
		return nil, named("adopt", key, err)
	}
	defer done()
	if l := c.keeper.holding(key, token); l != nil {
		return l, nil
	}
	var (
		hold sharelock.Hold
		from time.Duration
	)
	err = c.call(ctx, bounds{key: key, answer: answerTime}, func(ctx context.Context, n *node, sent time.Duration) (err error) {
		from = sent
		hold, err = renew(ctx, n, key, token, 0)
		return err
	})
	if err != nil {
		return nil, named("adopt", key, err)
	}
	// Q3: from the send of the renewal that was answered.
	deadline := from + hold.SafeFor
	if c.now() >= deadline {
		return nil, named("adopt", key, fmt.Errorf("%w: %w", ErrLost, errLate)) // the answer took too long
	}
	return c.keeper.add(hold, deadline, false, false), nil
}

// holding returns the lock with this token, or nil.
func (k *keeper) holding(key string, token sharelock.Token) *Lock {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lookup(key, token)
}

// lookup is holding for who has k.mu. It looks at all locks: it is for rare cases.
func (k *keeper) lookup(key string, token sharelock.Token) *Lock {
	for _, l := range k.due {
		if l.token == token && l.key == key {
			return l
		}
	}
	return nil
}

// Renew starts the TTL of the lock afresh now, besides the renewals that the client makes by
// itself. With a ttl that is not 0 the lock has that TTL from then on, 100 ms to the mesh's
// max_ttl; a shorter one never brings the end nearer that was promised before. It fails with
// an error that wraps [ErrLost] if the lock has been lost, and with [ErrReleased] after a
// Release.
//
// With the option [Metadata], the only one that it takes, the lock has that metadata from then
// on, and none if the map is empty. If that fails the lock is not renewed either, and goes on as
// it was: with sharelock.ErrQuota if there is no room. A change whose answer was lost may be
// done once more, later.
func (l *Lock) Renew(ctx context.Context, ttl time.Duration, opts ...Option) error {
	metadata, err := renewalOf(opts)
	if err == nil {
		err = l.renewNow(ctx, ttl, metadata)
	}
	return named("renew", l.key, err)
}

// renewalOf returns the metadata that these options set in a renewal, or nil if they set none.
func renewalOf(opts []Option) (map[string]string, error) {
	var r request
	for _, o := range opts {
		if o != nil {
			o(&r)
		}
	}
	m, given := r.Metadata, r.metadata
	r.Metadata, r.metadata = nil, false
	if !reflect.ValueOf(r).IsZero() {
		return nil, sharelock.Invalid("options", "a renewal accepts only Metadata")
	}
	if given && m == nil {
		m = map[string]string{}
	}
	return m, sharelock.CheckMetadata(m)
}

func (l *Lock) renewNow(ctx context.Context, ttl time.Duration, metadata map[string]string) error {
	if ttl != 0 && ttl < sharelock.MinTTL {
		return sharelock.Invalid("ttl", fmt.Sprintf("%v is below the least, %v", ttl, sharelock.MinTTL))
	}
	k := l.keeper
	ctx, done, err := k.c.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	k.mu.Lock()
	over, frozen := l.err, l.frozen
	sends := ttl
	if sends == 0 {
		sends = l.asked
	}
	k.mu.Unlock()
	if over != nil {
		return over
	}
	if frozen {
		return l.outlive(ctx)
	}
	var (
		hold sharelock.Hold
		from time.Duration
	)
	err = k.c.call(ctx, bounds{key: l.key, answer: answerTime}, func(ctx context.Context, n *node, sent time.Duration) (err error) {
		from = sent
		hold, _, err = n.session.Do(ctx, true, &sessionwire.Call{
			Kind: sessionwire.CallRenew, AcquireRequest: sharelock.AcquireRequest{Key: l.key, TTL: sends, Metadata: metadata}, Token: l.token,
		})
		if err == nil {
			err = plausible(hold, l.token)
		}
		return err
	})
	if gone(err) {
		k.lost(l, err)
		return l.Err()
	}
	if err != nil {
		return err
	}
	return k.renewed(l, hold, from, ttl, metadata)
}

// renewed takes the answer to a renewal that was sent at a time; the program has given it this TTL, or 0. A node that keeps the lock
// with another TTL lets go of it.
func (k *keeper) renewed(l *Lock, hold sharelock.Hold, sent, ttl time.Duration, metadata map[string]string) error {
	k.mu.Lock()
	if metadata != nil {
		l.hold.Metadata = maps.Clone(metadata)
	}
	if l.err != nil {
		defer k.mu.Unlock()
		return l.err
	}
	if k.c.now() >= l.deadline {
		why := l.overdue()
		k.mu.Unlock()
		return k.end(l, fmt.Errorf("%w: %w", ErrLost, why)) // Q3: the answer is too late
	}
	was := l.at
	if l.hold.TTL != hold.TTL {
		l.at = session.Attachment{}
	} else {
		was = session.Attachment{}
	}
	if ttl != 0 {
		l.asked = ttl
	}
	l.extend(hold, sent+hold.SafeFor)
	k.requeue(l)
	k.mu.Unlock()
	was.Detach()
	k.renewals.Add(1)
	k.nudge()
	return nil
}

// Check asks the owner of the key now whether the lock is still held. It returns nil if it is,
// an error that wraps [ErrLost] if it is not, which ends the lock, and the call's own error if
// the owner could not be asked.
func (l *Lock) Check(ctx context.Context) error {
	if err := l.Err(); err != nil {
		return named("check", l.key, err)
	}
	check, err := l.keeper.c.CheckToken(ctx, l.key, l.token)
	if err != nil {
		return err
	}
	if !check.Current {
		l.keeper.lost(l, sharelock.ErrStaleToken)
	}
	return named("check", l.key, l.Err())
}

// Stats counts what became of a client's locks.
type Stats struct {
	// Held is how many locks the client holds now.
	Held int
	// Renewals is how many renewals were confirmed by the owners, whoever made them for the
	// client: it, or a node that keeps a lock for it.
	Renewals uint64
	// Lost is how many locks ended with [ErrLost].
	Lost uint64
}

// Stats returns the counters since Dial. They are not of one moment.
func (c *Client) Stats() Stats {
	c.keeper.mu.Lock()
	held := len(c.keeper.due)
	c.keeper.mu.Unlock()
	return Stats{Held: held, Renewals: c.keeper.renewals.Load(), Lost: c.keeper.losses.Load()}
}
