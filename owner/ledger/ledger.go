// Package ledger counts the claims of each principal in the active partitions of one member, and
// bounds its claims in the whole mesh (Q8).
package ledger

import (
	"fmt"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/machine"
)

// A Ledger counts the claims of each principal in the active partitions of this member, and bounds
// its claims in the whole mesh (Q8). A principal with a limit has *room* at a member: the number of
// further claims that the member may admit without asking others. The claims and the rooms of all
// members together never exceed the limit. A claim that ends becomes room again. If a member has no
// room left, the claims at all members are counted. The count takes away the rooms of the other
// members, and half of what is free becomes the room of the member that counts.
//
// Claims without a principal are not counted. A Ledger is safe for concurrent use. No other lock is
// taken while mu is held.
type Ledger struct {
	clock func() time.Duration
	// limits returns the limits of a principal; 0 means none. If it is nil, no principal has
	// limits.
	limits func(principal string) (maxHolds, maxWaiters int)
	// count is called when the claims of a principal have to be counted at all members. It must not
	// block.
	count func(principal string)

	mu sync.Mutex
	// epoch is the epoch in which the rooms are valid; guarded by mu.
	epoch    uint32
	accounts map[string]*account // by principal; guarded by mu
	// sweepAt is the number of accounts at which those without claims are dropped. Guarded by mu.
	sweepAt int
}

// New returns a Ledger without claims. limits returns the limits of a principal, where 0 means
// none; if it is nil, no principal has limits. count is called when the claims of a principal have
// to be counted at all members; it must not block.
func New(clock func() time.Duration, limits func(principal string) (maxHolds, maxWaiters int), count func(principal string)) *Ledger {
	return &Ledger{clock: clock, limits: limits, count: count}
}

// leastSweep is the minimum number of accounts at which those without claims are dropped.
const leastSweep = 1024

// fullTime is how long a principal that a count has found at its limit is refused without another
// count.
const fullTime = 100 * time.Millisecond

// askAgain is how long a count that was asked for may take to begin before it is asked for again.
const askAgain = time.Second

// An account is what one principal has at this member.
type account struct {
	holds, waiters int
	// claims bounds holds and waiters together, because a waiter may become a hold at any time;
	// waiting bounds waiters.
	claims, waiting allowance
	// wanted is set from when a count is asked for until it has ended, counting while it is in
	// progress, and spoiled if another member has counted in the meantime. asked is when the count
	// was asked for.
	wanted, counting, spoiled bool
	asked                     time.Duration
}

// An allowance is the room of a principal under one limit.
type allowance struct {
	// limit is the limit to which room belongs; 0 means none.
	limit, room int
	// known is set after a count that found the limit respected, until the room is taken away.
	// While it is set, a claim that ends becomes room.
	known bool
	// full is the time until which the limit counts as reached.
	full time.Duration
}

// idle reports whether the account holds nothing but rooms.
func (a *account) idle() bool { return a.holds+a.waiters == 0 && !a.wanted }

// account returns the account of a principal, and opens one if there is none. It needs mu.
func (l *Ledger) account(principal string) *account {
	a := l.accounts[principal]
	if a == nil {
		if len(l.accounts) >= max(l.sweepAt, leastSweep) {
			for name, a := range l.accounts {
				if a.idle() {
					delete(l.accounts, name)
				}
			}
			l.sweepAt = 2 * len(l.accounts)
		}
		if l.accounts == nil {
			l.accounts = map[string]*account{}
		}
		a = &account{}
		l.accounts[principal] = a
	}
	return a
}

// of returns the current limits of a principal.
func (l *Ledger) of(principal string) (maxHolds, maxWaiters int) {
	if l.limits == nil {
		return 0, 0
	}
	return l.limits(principal)
}

var _ machine.Quota = (*Ledger)(nil)

// Admit implements machine.Quota.
func (l *Ledger) Admit(principal string, waits bool) error {
	maxHolds, maxWaiters := l.of(principal)
	l.mu.Lock()
	a := l.account(principal)
	now := l.clock()
	err := a.claims.check(now, maxHolds, "max_holds", principal)
	if err == nil && waits {
		err = a.waiting.check(now, maxWaiters, "max_waiters", principal)
	}
	// A count that was asked for while a view was being installed may never begin.
	ask := err == machine.ErrUncounted && (!a.wanted || !a.counting && now-a.asked > askAgain) //nolint:errorlint // it comes from check
	if ask {
		a.wanted, a.asked = true, now
	}
	if err == nil {
		a.claims.take()
		if waits {
			a.waiting.take()
			a.waiters++
		} else {
			a.holds++
		}
	}
	l.mu.Unlock()
	if ask {
		l.count(principal)
	}
	return err
}

// check returns nil if there is room or no limit. limit is the current limit.
func (b *allowance) check(now time.Duration, limit int, name, principal string) error {
	if b.limit != limit {
		*b = allowance{limit: limit} // the auth file has changed
	}
	switch {
	case limit <= 0 || b.room > 0:
		return nil
	case now < b.full:
		return &sharelock.Error{
			Err: sharelock.ErrQuota, RetryAfter: time.Second,
			Message: fmt.Sprintf("%s of principal %q is %d in the whole mesh, and it is reached; release some, or raise it in the auth file", name, principal, limit),
		}
	}
	return machine.ErrUncounted
}

func (b *allowance) take() {
	if b.room > 0 {
		b.room--
	}
}

func (b *allowance) giveBack() {
	if b.full = 0; b.known {
		b.room++
	}
}

// Granted implements machine.Quota.
func (l *Ledger) Granted(principal string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(principal)
	a.waiters--
	a.holds++
	a.waiting.giveBack()
}

// Ended implements machine.Quota.
func (l *Ledger) Ended(principal string, waited bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(principal)
	a.claims.giveBack()
	if waited {
		a.waiters--
		a.waiting.giveBack()
	} else {
		a.holds--
	}
}

// Add adds the claims of a partition that becomes active, or subtracts those of a partition that no
// longer is, by sign.
func (l *Ledger) Add(m *machine.Machine, sign int) {
	m.Principals(func(name string, holds, waiters int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		a := l.account(name)
		a.holds += sign * holds
		a.waiters += sign * waiters
	})
}

// Begin makes all rooms void, because in a new epoch partitions move, and their claims with them.
func (l *Ledger) Begin(epoch uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = epoch
	for _, a := range l.accounts {
		a.claims, a.waiting, a.wanted, a.counting = allowance{}, allowance{}, false, false
	}
}

// Claims are the numbers of holds and waiters of a principal.
type Claims struct{ Holds, Waiters int }

// Principals returns what each principal has in the active partitions of this member.
func (l *Ledger) Principals() map[string]Claims {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string]Claims, len(l.accounts))
	for name, a := range l.accounts {
		if a.holds+a.waiters > 0 {
			all[name] = Claims{a.holds, a.waiters}
		}
	}
	return all
}

// BeginCount begins a count of a principal's claims at all members, in an epoch. It returns false
// if they cannot be counted now: the epoch is not the current one, or a count is in progress.
func (l *Ledger) BeginCount(epoch uint32, principal string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(principal)
	if l.epoch != epoch || a.counting {
		return false
	}
	a.wanted, a.counting, a.spoiled = true, true, false
	return true
}

// Reveal returns what a principal has at this member, for a count of another member, and takes away
// its room. It returns false in another epoch, or if this member is counting, too, and first says
// that it has precedence: of two counts at the same time at most one succeeds.
func (l *Ledger) Reveal(first bool, epoch uint32, principal string) (c Claims, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch != epoch {
		return Claims{}, false
	}
	a := l.accounts[principal]
	if a == nil {
		return Claims{}, true
	}
	if a.counting && first {
		return Claims{}, false
	}
	a.spoiled = true
	a.claims, a.waiting = allowance{}, allowance{}
	return Claims{a.holds, a.waiters}, true
}

// EndCount ends a count of an epoch. others is the sum of what the other members have; ok is false
// if one of them has not answered.
func (l *Ledger) EndCount(epoch uint32, principal string, others Claims, ok bool) {
	maxHolds, maxWaiters := l.of(principal)
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[principal]
	switch {
	case a == nil:
		return
	case l.epoch != epoch:
		// A count of an older epoch, or one that could not begin yet. The next claim asks again.
		if !a.counting {
			a.wanted = false
		}
		return
	}
	ok = ok && a.counting && !a.spoiled
	a.wanted, a.counting = false, false
	if !ok {
		return // the next claim asks again
	}
	now := l.clock()
	a.claims.counted(now, maxHolds, others.Holds+others.Waiters+a.holds+a.waiters)
	a.waiting.counted(now, maxWaiters, others.Waiters+a.waiters)
}

// counted sets the room after a count: half of what is free, where used is what all members have.
// The other half is left for other members.
func (b *allowance) counted(now time.Duration, limit, used int) {
	if b.limit != limit {
		*b = allowance{limit: limit}
	}
	if limit <= 0 {
		return
	}
	b.known = used+b.room <= limit
	if free := limit - used - b.room; free > 0 {
		b.room += (free + 1) / 2
	} else {
		b.room = max(b.room+free, 0) // the limit may have been lowered
	}
	if b.room == 0 {
		b.full = now + fullTime
	}
}
