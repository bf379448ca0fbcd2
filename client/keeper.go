package client

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/secure"
	"github.com/sgkandale/sharelock/client/internal/session"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

const (
	// look is the longest time between two readings of the clock while there are locks: timers do not run
	// while the machine is suspended.
	look = time.Second
	// idle is the time between two readings without locks. Adding a lock ends the wait.
	idle = time.Hour
	// leastAttempt and mostAttempt bound one attempt of a renewal.
	leastAttempt = 20 * time.Millisecond
	mostAttempt  = 5 * time.Second
)

// keeper renews all locks of a client and ends those that run out. One goroutine works through a heap of
// locks, ordered by when something is due; each renewal in flight has a goroutine of its own.
type keeper struct {
	c    *Client
	wake chan struct{}
	// ended is a closed channel: Done of the locks for which nobody called Done while they were held.
	ended chan struct{}

	// mu guards due and the mutable part of every Lock.
	mu  sync.Mutex
	due dueHeap
	// early are forced releases of locks that add has not been called for yet. Guarded by mu.
	early []*sessionwire.Forced

	// renewals and losses are for Stats.
	renewals, losses atomic.Uint64
}

// mostEarly bounds keeper.early; the oldest are dropped.
const mostEarly = 64

func newKeeper(c *Client) *keeper {
	k := &keeper{c: c, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	close(k.ended)
	return k
}

// add makes a Lock of a grant, and keeps it until it ends.
func (k *keeper) add(h sharelock.Hold, deadline time.Duration, sentOnce, noRenew bool) *Lock {
	l := &Lock{
		keeper: k, key: h.Key, token: h.Token, hold: h, sentOnce: sentOnce, noRenew: noRenew,
		index: -1,
	}
	k.mu.Lock()
	l.extend(h, deadline)
	heap.Push(&k.due, l)
	first := l.index == 0
	var taken *sessionwire.Forced
	if len(k.early) > 0 {
		taken = k.takeEarly(h.Key, h.Token)
	}
	k.mu.Unlock()
	if taken != nil {
		k.forced(taken)
		return l
	}
	if first {
		k.nudge()
	}
	if k.c.life.Err() != nil {
		k.end(l, ErrClosed) // run may have ended all locks before this one was added
	}
	return l
}

// extend applies an answer to the lock. Its request was sent at deadline - h.SafeFor. keeper.mu must be held.
func (l *Lock) extend(h sharelock.Hold, deadline time.Duration) {
	l.hold.TTL, l.hold.ExpiresIn, l.hold.SafeFor, l.hold.Node = h.TTL, h.ExpiresIn, h.SafeFor, h.Node
	l.hold.MaxHold, l.hold.EndsIn = h.MaxHold, h.EndsIn
	if h.EndsIn > 0 && l.last == 0 {
		// Only the first answer counts: the owner's measure of the time is a tenth longer.
		l.last = deadline - h.SafeFor + h.EndsIn
	}
	l.deadline = max(l.deadline, l.within(deadline))
	l.warned, l.denied = false, nil
	l.reckon()
	l.next = l.due()
}

// within returns the deadline, but not later than the lock may be held. keeper.mu must be held.
func (l *Lock) within(deadline time.Duration) time.Duration {
	if l.last > 0 {
		return min(deadline, l.last)
	}
	return deadline
}

// overdue returns why the lock is lost at its deadline. keeper.mu must be held.
func (l *Lock) overdue() error {
	if l.last > 0 && l.deadline == l.last {
		return fmt.Errorf("%w, %v", ErrMaxHold, l.hold.MaxHold)
	}
	if l.denied != nil {
		return fmt.Errorf("%w: %w", errLate, l.denied)
	}
	return errLate
}

// ranOut reports whether a lock was lost at its deadline. Then its owner may still count it as held.
func ranOut(err error) bool { return errors.Is(err, errLate) || errors.Is(err, ErrMaxHold) }

// reckon computes when the renewal and the warning are due. keeper.mu must be held.
func (l *Lock) reckon() {
	ttl := l.hold.TTL
	l.warnAt = l.deadline - ttl/10
	if l.last > 0 && l.deadline == l.last {
		l.renewAt = l.deadline // no renewal makes the deadline later
		return
	}
	if l.at.Attached() {
		l.renewAt = l.deadline - lateForNode(ttl)
		return
	}
	// TTL/3 after the send of the newest answer. Jitter keeps locks that were acquired together from being
	// renewed together; rounding gives locks that are due at about the same time one message.
	at := l.deadline - 2*ttl/3 - time.Duration(rand.Int64N(int64(ttl/30)+1)) //nolint:gosec // spreads calls over time, and is no secret
	l.renewAt = at - at%max(ttl/together, 1)
}

// lateForNode returns how much of a TTL is left when the node that keeps a lock alive is considered late, so
// that there is time to renew the lock in another way: two fifths; of a long TTL, of which a node uses up to
// half, 15 s or a quarter.
func lateForNode(ttl time.Duration) time.Duration {
	return max(min(2*ttl/5, 15*time.Second), ttl/4)
}

// together is the number of parts of a TTL to which the times of renewals are rounded.
const together = 256

// due returns when something is to be done for the lock. keeper.mu must be held.
func (l *Lock) due() time.Duration {
	at := l.deadline
	if !l.warned {
		at = min(at, l.warnAt)
	}
	if !l.noRenew && l.stopRenewal == nil {
		at = min(at, l.renewAt)
	}
	return at
}

// nudge wakes run.
func (k *keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run is the keeper's goroutine.
func (k *keeper) run() {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		timer.Reset(k.step())
		select {
		case <-timer.C:
		case <-k.wake:
		case <-k.c.life.Done():
			k.endAll()
			return
		}
	}
}

// step does what is due and returns the time until something else is.
func (k *keeper) step() time.Duration {
	for {
		l, wait := k.first()
		if l == nil {
			return wait
		}
		k.attend(l)
	}
}

// first returns a lock for which something is due, or nil and the time until something is.
func (k *keeper) first() (*Lock, time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.due) == 0 {
		return nil, idle
	}
	if wait := k.due[0].next - k.c.now(); wait > 0 {
		return nil, min(wait, look)
	}
	return k.due[0], 0
}

// attend does what is due for one lock.
func (k *keeper) attend(l *Lock) {
	now := k.c.now()
	k.mu.Lock()
	if l.err != nil || now < l.next {
		k.mu.Unlock()
		return
	}
	if l.next = l.due(); now < l.next {
		// The entry in the heap was earlier than necessary, see kept.
		k.requeue(l)
		k.mu.Unlock()
		return
	}
	switch {
	case now >= l.deadline:
		why := l.overdue()
		k.mu.Unlock()
		k.end(l, fmt.Errorf("%w: %w", ErrLost, why))
		k.c.log.warn("lock lost", "key", l.key, "token", l.token, "err", why)
		return
	case !l.warned && now >= l.warnAt:
		l.warned = true
		ends, why := l.takeContexts(), l.expiring()
		k.requeue(l)
		k.mu.Unlock()
		for _, end := range ends {
			end(why)
		}
		return
	}
	if !l.at.Attached() && !l.alone {
		k.mu.Unlock()
		if k.attachTo(k.c.nodeFor(l.key), l) {
			return
		}
		k.mu.Lock()
		if l.err != nil {
			k.mu.Unlock()
			return
		}
	}
	ctx, stop := context.WithCancel(k.c.life)
	l.stopRenewal = stop
	k.requeue(l)
	k.mu.Unlock()
	if !k.c.goWork(func() { k.renew(ctx, stop, l) }) {
		stop() // closing: run sees it next
	}
}

// requeue updates the place of a lock in the heap. mu must be held.
func (k *keeper) requeue(l *Lock) {
	l.next = l.due()
	if l.index >= 0 {
		heap.Fix(&k.due, l.index)
	}
}

// takeContexts removes the contexts of a lock and returns the functions that end them, which must be called
// without keeper.mu. keeper.mu must be held.
func (l *Lock) takeContexts() []context.CancelCauseFunc {
	ends := make([]context.CancelCauseFunc, 0, len(l.contexts))
	for end := range l.contexts {
		ends = append(ends, *end)
	}
	clear(l.contexts)
	return ends
}

// renew renews a lock at any node that answers, until the deadline.
func (k *keeper) renew(ctx context.Context, stop context.CancelFunc, l *Lock) {
	defer stop()
	k.mu.Lock()
	deadline, ttl := l.deadline, l.asked
	k.mu.Unlock()

	var (
		hold sharelock.Hold
		sent time.Duration
	)
	err := k.c.call(ctx, bounds{
		key:   l.key,
		until: deadline, hard: true,
		// An attempt at a node that hangs must leave time for the other nodes.
		attempt: func() time.Duration {
			left := deadline - k.c.now()
			return max(min(max(left/4, leastAttempt), mostAttempt, left), time.Millisecond)
		},
	}, func(ctx context.Context, n *node, at time.Duration) (err error) {
		sent = at
		hold, _, err = n.session.Do(ctx, true, &sessionwire.Call{
			Kind: sessionwire.CallRenew, AcquireRequest: sharelock.AcquireRequest{Key: l.key, TTL: ttl}, Token: l.token,
		})
		if err == nil {
			err = plausible(hold, l.token)
		}
		if word := sharelockv1.FromError(err); err != nil && !gone(word) {
			if secure.Denied(word) {
				k.mu.Lock()
				l.denied = word
				k.mu.Unlock()
			}
			k.c.log.debug("renewal failed", "key", l.key, "token", l.token, "addr", n.addr, "err", err)
			// Only the owner's answer ends a lock before its deadline. Any other failure may be over before
			// then.
			return again{err: err, away: true}
		}
		return err
	})
	if gone(err) {
		k.lost(l, err)
		return
	}
	k.mu.Lock()
	l.stopRenewal = nil
	if err == nil && l.err == nil && k.c.now() < l.deadline {
		// Q3: counted from the send of the renewal that was answered. An answer after the deadline is too
		// late, even if the owner has renewed the lock.
		l.alone = false
		k.renewals.Add(1)
		if l.asked != ttl {
			hold.TTL = l.hold.TTL // a Renew has changed it meanwhile
		}
		l.extend(hold, sent+hold.SafeFor)
	} else if err != nil && l.deadline == deadline {
		// The renewal has used all the time until the deadline.
		l.renewAt = l.deadline
	} else if err != nil {
		l.reckon() // a session has renewed the lock meanwhile
	}
	k.requeue(l)
	k.mu.Unlock()
	k.nudge()
}

// lost ends a lock that is no grant any more, as its owner has answered.
func (k *keeper) lost(l *Lock, err error) {
	k.end(l, fmt.Errorf("%w: %w", ErrLost, err))
	k.c.log.warn("lock lost", "key", l.key, "token", l.token, "err", err)
}

// end ends the lock for the reason why, unless it has ended before, and returns the reason for which it has
// ended.
func (k *keeper) end(l *Lock, why error) error { return k.endAt(k.c.now(), l, why) }

// endAt is end with the present time.
func (k *keeper) endAt(now time.Duration, l *Lock, why error) error {
	k.mu.Lock()
	if l.err != nil {
		defer k.mu.Unlock()
		return l.err
	}
	if now >= l.deadline && !errors.Is(why, ErrLost) {
		// It has run out before.
		why = fmt.Errorf("%w: %w", ErrLost, l.overdue())
	}
	l.err = why
	if errors.Is(why, ErrLost) {
		k.losses.Add(1)
	}
	if l.index >= 0 {
		heap.Remove(&k.due, l.index)
	}
	ends := l.takeContexts()
	stop, at := l.stopRenewal, l.at
	l.at = session.Attachment{}
	if l.done == nil {
		l.done = k.ended
	} else {
		close(l.done)
	}
	k.mu.Unlock()
	if stop != nil {
		stop()
	}
	at.Detach()
	for _, end := range ends {
		end(why)
	}
	return why
}

// endAll ends every lock because the client is closed.
func (k *keeper) endAll() {
	for {
		k.mu.Lock()
		if len(k.due) == 0 {
			k.mu.Unlock()
			return
		}
		l := k.due[0]
		k.mu.Unlock()
		k.end(l, ErrClosed)
	}
}

// dueHeap orders locks by next.
type dueHeap []*Lock

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].next < h[j].next }

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for container/heap.
func (h *dueHeap) Push(x any) {
	l := x.(*Lock)
	l.index = len(*h)
	*h = append(*h, l)
}

// Pop is for container/heap.
func (h *dueHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.index = -1
	return l
}
