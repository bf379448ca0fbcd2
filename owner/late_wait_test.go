package owner

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

// Q2: a wait that ends before the owner serves is over like any other. The id is remembered, so
// that an earlier send of it, by another node, is not granted later.
func TestWaitThatEndsBeforeTheOwnerServes(t *testing.T) {
	bubble(t, func(tb *table) {
		seats := tb.seat("abc", 2)
		a, b := seats[0], seats[1]
		k := tb.keyFor("abc:ab", "bc:bc")
		tb.deal("abc")
		held := tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
		syncs := tb.hold(syncMessage, "b", "c")
		a.crash()
		tb.deal("bc")
		late := tb.ask(b, acquireOf(k, "c2", 50*time.Millisecond))
		tb.outcome(late, 0, nil)
		tb.pass(time.Second)
		syncs.release()
		tb.rest()
		tb.pass(10 * time.Millisecond)
		tb.outcome(late, Failed, sharelock.ErrLockHeld)
		tb.outcome(tb.ask(b, releaseOf(k, held)), Done, nil)
		tb.outcome(tb.ask(b, acquireOf(k, "c2", time.Minute)), Failed, sharelock.ErrRequestOver)
	})
}
