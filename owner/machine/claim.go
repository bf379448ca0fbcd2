package machine

import (
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/compact"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/ops"
)

// silentPeriods is how many periods without a send end a waiter (Q5).
const silentPeriods = 3

// A claim is one acquire: a waiter, and after its grant the hold. There may be a million claims, so
// a claim has no field that most do not need, and no pointer, so that the garbage collector need
// not look at it.
//
// A *claim is valid until the claim or the turn ends.
type claim struct {
	// token is 0 while the claim waits.
	token sharelock.Token
	// life has the TTL and, in its lowest bits, the flags.
	life uint64
	// since is when this replica learned of the grant, for a hold. It decides nothing.
	since time.Duration
	// id is the number of this claim in keyTable.claims.
	id uint32
	// text has the key, the client id and the request id of the only claim of an uncontended key.
	// It is 0 for a claim of a contended key.
	text compact.TextID
	// extra is the number of its claimExtra in keyTable.extras. It is 0 for the hold of an
	// uncontended key without metadata and without a longest time.
	extra uint32
	// share is the connection to whose share the claim counts (Q6) or, with hasPrincipal set, the
	// number of its principal in keyTable.principals.
	share uint32
}

// The flags of a claim.
const (
	// isShared is set if the mode is sharelock.Shared.
	isShared = 1 << iota
	// isOwnID is set if the client made the request id.
	isOwnID
	// isResent is set if all copies know that the request may have been sent more than once.
	isResent
	// hasPrincipal is set if the claim belongs to a principal.
	hasPrincipal

	flagBits = 4

	_ = uint64(ops.MaxSpan) << flagBits // fits
)

func (c *claim) held() bool { return c.token != 0 }

func (c *claim) ttl() time.Duration { return time.Duration(c.life >> flagBits) }

func (c *claim) setTTL(ttl time.Duration) {
	c.life = intconv.Bits(ttl)<<flagBits | c.life&(1<<flagBits-1)
}

func (c *claim) is(flag uint64) bool { return c.life&flag != 0 }

func (c *claim) set(flag uint64, on bool) {
	c.life &^= flag
	if on {
		c.life |= flag
	}
}

func (c *claim) mode() sharelock.Mode {
	if c.is(isShared) {
		return sharelock.Shared
	}
	return sharelock.Exclusive
}

// A claimExtra is what only some claims have: metadata, a longest time, a place in a contended key,
// and, for a waiter, what only the owner knows.
type claimExtra struct {
	claim *claim
	meta  map[string]string
	// maxHold is the longest that the hold may last from its grant on; 0 is no limit. For a hold,
	// ends is when that time is over, stretched, by this replica's clock.
	maxHold, ends time.Duration

	// contended is the key of the claim, or nil for the claim of an uncontended key.
	contended *contendedKey
	// prev and next are the neighbours in the contended key's holds or waiters.
	prev, next *claimExtra
	// earlier and later are the neighbours of a waiter among all waiters of the partition.
	earlier, later *claimExtra
	// client and request are the ids of a claim in a contended key.
	client, request string

	waiterState
}

// waiterState is what only the owner knows about a waiter.
type waiterState struct {
	// ref is where the answer goes. It is the zero Ref if the waiter is detached or settling.
	ref Ref
	// ttl is that of the newest send.
	ttl time.Duration
	// limit is when the wait of the newest send ends.
	limit time.Duration
	// seen is when the newest send arrived, or when the owner was activated.
	seen time.Duration
	// since is when the waiter entered this owner's queue.
	since time.Duration
	// settles is when the waiter stops settling; 0 if it does not settle.
	settles time.Duration
	// send is the number of the newest send.
	send uint32
	// era is the era of the machine in which all of this was noted; see turn.fresh.
	era uint32
	// resent is set if this owner has seen more than the first send.
	resent bool
}

// listens reports whether the waiter is attached or settles, so that it is not passed over, as far
// as its owner has been told (Q5).
func (w *waiterState) listens() bool { return w.ref.Caller != nil || w.settles != 0 }

// due returns when Tick must look at the waiter.
func (w *waiterState) due() time.Duration {
	at := w.seen + silentPeriods*rules.Period(w.ttl)
	if w.ref.Caller != nil {
		// The wait does not matter for a waiter whose caller is gone: it keeps its place for three
		// periods, and a retry brings a new wait.
		at = min(at, w.limit)
	}
	if w.settles != 0 {
		at = min(at, w.settles)
	}
	return at
}
