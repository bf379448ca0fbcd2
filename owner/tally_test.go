package owner

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/metrics"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/ops"
)

// An owner counts how acquires, holds and hand-overs ended and how long they took. Backups count
// nothing.
func TestTotals(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.seat("ab", 2)
		tb.deal("ab")
		key := tb.keyFor("ab")
		a, b := tb.owner(key), tb.set(key)[1]

		first := tb.ask(a, acquireOf(key, "first", 0))
		tb.ask(a, acquireOf(key, "refused", 0))
		second := tb.ask(a, acquireOf(key, "second", time.Minute))
		shared := acquireOf(key, "shared", 2*time.Second)
		shared.Mode = sharelock.Shared
		tb.ask(a, shared)
		gone := tb.ask(a, acquireOf(key, "gone", time.Minute))
		if st := a.service.Stats(); st.Holds != 1 || st.Waiters != 3 {
			t.Errorf("%d hold and %d wait", st.Holds, st.Waiters)
		}
		tb.pass(time.Second)
		if st := a.service.Stats(); st.LongestWait != time.Second {
			t.Errorf("the first has waited for %v", st.LongestWait)
		}
		tb.ask(a, Request{Kind: Cancel, Key: key, ClientID: "gone", RequestID: "gone-1", Drop: true})
		tb.outcome(gone, Failed, sharelock.ErrRequestOver)
		tb.pass(time.Second) // the wait of the shared one is over
		slow := tb.hold(ackMessage, b.member.ID, a.member.ID)
		tb.ask(a, releaseOf(key, tb.granted(first)))
		tb.pass(500 * time.Millisecond)
		slow.release()
		tb.rest()
		token := tb.granted(second)
		tb.pass(time.Second)
		tb.ask(a, Request{Kind: Force, Key: key, Token: token})
		tb.ask(a, Request{Kind: Acquire, Key: key})

		got := a.service.Totals()
		want := map[string]string{
			"exclusive granted": "2 in 2s", "exclusive held": "1 in 0s", "exclusive cancelled": "1 in 1s", "shared held": "1 in 2s",
			"released": "1 in 2s", "forced": "1 in 1.5s", "hand-over": "1 in 500ms",
		}
		check := func(name string, h *metrics.Histogram) {
			t.Helper()
			if text := fmt.Sprintf("%d in %v", h.Count(), time.Duration(h.Sum()*1e9).Round(time.Microsecond)); h.Count() > 0 && text != want[name] || h.Count() == 0 && want[name] != "" {
				t.Errorf("%s: %s, want %s", name, text, want[name])
			}
		}
		for mode, m := range []string{"exclusive ", "shared "} {
			for result, r := range []string{"granted", "held", "cancelled"} {
				check(m+r, &got.Wait[mode][result])
			}
		}
		if n := got.Wait[0][WaitError].Count(); n != 1 {
			t.Errorf("%d acquires had an error", n)
		}
		for end, e := range []string{"released", "expired", "forced", "cancelled"} {
			check(e, &got.Hold[end])
		}
		check("hand-over", &got.Handover)
		if n, sum := got.Replication.Count(), got.Replication.Sum(); n < 3 || sum != 0.5 {
			t.Errorf("%d operations took %v s to the backup", n, sum)
		}
		if n := got.Activation.Count(); n != 1 {
			t.Errorf("%d activations", n)
		}
		if b := b.service.Totals(); b.Hold[EndReleased].Count() != 0 || b.Wait[0][WaitGranted].Count() != 0 {
			t.Error("a backup counts what its owner has decided")
		}
	})
}

// A hold that moves to another owner is counted there, from when that member learned of the grant.
func TestTotalsAfterTakeover(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.seat("ab", 2)
		tb.deal("ab")
		key := tb.keyFor("ab")
		tb.ask(tb.owner(key), acquireOf(key, "c", 0))
		tb.pass(5 * time.Second)
		heir := tb.set(key)[1]
		tb.owner(key).crash()
		tb.deal(heir.member.ID)
		tb.pass(12 * time.Second) // 1.1 of the TTL of 10 s
		got := heir.service.Totals()
		if n, sum := got.Hold[EndExpired].Count(), got.Hold[EndExpired].Sum(); n != 1 || sum < 16 || sum > 17.1 {
			t.Errorf("%d expired after %v s", n, sum)
		}
		if st := heir.service.Stats(); st.Holds != 0 || st.LongestWait != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// Counting allocates nothing, once each histogram has something.
func TestTotalsDoNotAllocate(t *testing.T) {
	var totals Totals
	list := []ops.Op{
		{Kind: ops.Grant},
		{Kind: ops.Grant, Waited: true, ClaimMode: sharelock.Shared, Lasted: time.Second},
		{Kind: ops.Release, Why: ops.Released, Lasted: time.Minute},
		{Kind: ops.Dequeue, Why: ops.WaitOver, Lasted: time.Hour},
		{Kind: ops.Renew},
	}
	m := machine.New(1, 1)
	if n := testing.AllocsPerRun(100, func() { totals.decided(list, m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
