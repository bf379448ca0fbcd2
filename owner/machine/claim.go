package machine

import (
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/compact"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/ops"
)

// silentPeriods is how many periods without a send end a waiter (Q5).
const silentPeriods = 3

// claim is one acquire: a waiter, and after its grant the hold. There may be a
// million of them, so it has no field that most do not need, and no pointer, so
// that the garbage collector need not look at it.
//
// A *claim is good until the claim ends or the turn does.
type claim struct {
	// token is 0 while it waits.
	token sharelock.Token
	// life is the TTL, and in its lowest bits the flags.
	life uint64
	// id is its number in keys.claims.
	id uint32
	// text has its key, client id and request id, if it is alone with its key; 0 for a
	// claim in a contended key.
	text compact.TextID
	// more is its number in keys.mores; 0 for a hold without metadata and longest time
	// that is alone with its key.
	extra uint32
	// conn is the connection in whose share it is (Q6).
	conn uint32
}

// The flags of a claim.
const (
	// isShared: the mode is sharelock.Shared.
	isShared = 1 << iota
	// isOwnID: the request id was made by the client.
	isOwnID
	// isResent: the request is known in all copies to have been sent again.
	isResent

	flagBits = 3

	_ = uint64(ops.MaxSpan) << flagBits // fits
)

func (c *claim) held() bool { return c.token != 0 }

func (c *claim) ttl() time.Duration { return time.Duration(c.life >> flagBits) }

func (c *claim) setTTL(ttl time.Duration) {
	c.life = uint64(ttl)<<flagBits | c.life&(1<<flagBits-1)
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

// more is what only some claims have: metadata, a longest time, a place in a contended key, and at
// the owner of a waiter what cannot be copied.
type claimExtra struct {
	claim *claim
	meta  map[string]string
	// maxHold is the longest that the hold may last from its grant on; 0 is no limit. ends
	// is when that is over for a hold: stretched, by this replica's clock.
	maxHold, ends time.Duration

	// contended key is nil for a claim that is alone with its key.
	contended *contendedKey
	// prev and next are the neighbours in the contended key's holds or waiters.
	prev, next *claimExtra
	// client and request are the ids of a claim in a contended key.
	client, request string

	waiterState
}

// waiting is what the owner of a waiter knows of it.
type waiterState struct {
	// ref is where the answer goes; the zero Ref is detached or settling.
	ref Ref
	// ttl is the one of the newest send.
	ttl time.Duration
	// limit is when the wait of the newest send is over.
	limit time.Duration
	// seen is when the newest send arrived, or when the owner was activated.
	seen time.Duration
	// since is when it entered this owner's queue.
	since time.Duration
	// settles is when it stops to be waited for; 0 if it does not settle.
	settles time.Duration
	// send is the number of the newest send.
	send uint32
	// era is that of the machine when all of this was noted; see Machine.fresh.
	era uint32
	// resent: this owner saw more than the first send.
	resent bool
}

// listens: the waiter is not passed over, as far as its owner was told (Q5).
func (w *waiterState) listens() bool { return w.ref.Caller != nil || w.settles != 0 }

// due is when Tick must look at the waiter.
func (w *waiterState) due() time.Duration {
	at := w.seen + silentPeriods*rules.Period(w.ttl)
	if w.ref.Caller != nil {
		// A waiter whose caller is gone keeps its place for the three periods,
		// whatever its wait was: the retry brings a new one.
		at = min(at, w.limit)
	}
	if w.settles != 0 {
		at = min(at, w.settles)
	}
	return at
}
