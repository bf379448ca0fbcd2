package keepalive

import (
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/owner"
)

// kept is a hold that a session keeps alive. There may be a million of them. Everything but the
// Renewal is guarded by Keeper.mu.
type kept struct {
	// Renewal is never changed: requests refer to it.
	owner.Renewal
	session *Session
	id      uint64
	// asOf is the keepalive that the newest renewal counts from, asked that of the
	// renewal under way.
	asOf, asked uint64
	// batch is where it waits, and at its place in it; nil while its renewal is under
	// way.
	batch *batch
	at    int32
	// partition is the key's.
	partition uint32
}

// detached reports whether nobody wants it kept any more.
func (k *kept) detached() bool { return k.session == nil }

// A hold is renewed every period, or a little earlier. Holds whose TTLs are alike are
// renewed in rounds, so that a message to an owner has many of them.
const (
	// roundsOf a period there are at least, and twice as many at most.
	roundsOf = 8
	// spread is the share of a period by which a renewal may be early, so that holds that
	// were attached together are not renewed together for ever.
	spread = 8
	// wheelSize is more than the rounds until a renewal is due.
	wheelSize = 2*roundsOf + 2
	// restOf is the share of a TTL before a hold that could not be renewed is tried again.
	restOf = 32
	// soonest is the share of a TTL that a hold which was just attached waits for others,
	// at most.
	soonest = 256
	// longestRest bounds that of restOf.
	longestRest = time.Second
)

// ample is so much of a TTL that more need not be left when a renewal is due: many times
// what a mesh with this lease takes to get over a crash, a cut or an election.
func ample(lease time.Duration) time.Duration { return max(30*time.Second, 15*lease) }

// renewPeriod is the time from one renewal to the next: a third of the TTL; and of a long one
// up to half, as long as what is left is ample.
func renewPeriod(ttl, ample time.Duration) time.Duration {
	return min(max(ttl/3, ttl-ample), ttl/2)
}

// wheel is the holds that are due at the ticks of one length, 1<<shift nanoseconds.
type wheel struct {
	shift   uint
	buckets [wheelSize]bucket
	// next is the first tick that was not taken yet.
	next int64
}

// shiftOf gives ticks of a length, or of a little more than half of it.
func shiftOf(length time.Duration) uint { return uint(max(bits.Len64(intconv.Bits(length))-1, 0)) }

// add enters a hold that is due at a time, and gives when it will be: not before that,
// if it is not too far off.
func (w *wheel) add(now, due time.Duration, k *kept) time.Duration {
	w.take(now, nil, 0) // nothing, but it is known then what is empty
	tick := int64((due + 1<<w.shift - 1) >> w.shift)
	tick = max(tick, w.next, int64(now>>w.shift)+1)
	tick = min(tick, w.next+wheelSize-1)
	w.buckets[tick%wheelSize].add(k)
	return time.Duration(tick << w.shift)
}

// take adds what is due to a list until that has so many.
func (w *wheel) take(now time.Duration, into []*kept, most int) []*kept {
	last := int64(now >> w.shift)
	for n := 0; w.next <= last; n++ {
		if n == wheelSize {
			w.next = last + 1
			break
		}
		b := &w.buckets[w.next%wheelSize]
		if into = b.take(into, most); b.holds > 0 {
			break
		}
		w.next++
	}
	return into
}

// due is when the next hold is; false if there is none.
func (w *wheel) due() (time.Duration, bool) {
	for i := range int64(wheelSize) {
		if tick := w.next + i; w.buckets[tick%wheelSize].holds > 0 {
			return time.Duration(tick << w.shift), true
		}
	}
	return 0, false
}

// wheels are the wheels in use, by their shift.
type wheels [64]*wheel

func (ws *wheels) at(now time.Duration, shift uint) *wheel {
	w := ws[shift]
	if w == nil {
		w = &wheel{shift: shift, next: int64(now >> shift)}
		ws[shift] = w
	}
	return w
}

// renewed enters a hold whose renewal began at a time.
func (ws *wheels) renewed(now, began, ample time.Duration, k *kept) {
	period := renewPeriod(k.TTL, ample)
	due := began + period - time.Duration(rand.Int64N(int64(period/spread)+1)) //nolint:gosec // spreads calls over time, and is no secret
	ws.at(now, shiftOf(period/roundsOf)).add(now, due, k)
}

// rest enters a hold that could not be renewed just now.
func (ws *wheels) rest(now time.Duration, k *kept) {
	d := min(k.TTL/restOf, longestRest)
	ws.at(now, shiftOf(d)).add(now, now+d, k)
}

// attached enters a hold that is new here, and gives when it is due: soon, together with
// others that come meanwhile.
func (ws *wheels) attached(now time.Duration, k *kept) time.Duration {
	return ws.at(now, shiftOf(k.TTL/soonest)).add(now, now, k)
}

// take adds what is due to a list until that has so many.
func (ws *wheels) take(now time.Duration, into []*kept, most int) []*kept {
	for _, w := range ws {
		if w != nil && len(into) < most {
			into = w.take(now, into, most)
		}
	}
	return into
}

// due is when the next hold is; false if there is none.
func (ws *wheels) due() (at time.Duration, ok bool) {
	for _, w := range ws {
		if w == nil {
			continue
		}
		if d, some := w.due(); some && (!ok || d < at) {
			at, ok = d, true
		}
	}
	return at, ok
}
