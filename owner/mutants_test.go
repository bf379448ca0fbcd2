package owner

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/ring"
)

// A1: numbers of a log begin again when state was lost, so an acknowledgement of an
// older epoch may name an operation of this one that its backup has never seen. It
// does not count.
func TestAcknowledgementOfAnOlderEpoch(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		old := tb.view([]string{"a", "b", "c"}) - 1
		set := tb.set("k")
		lost := tb.lose(opsMessage, set[0].member.ID, set[1].member.ID)
		e := tb.ask(set[0], acquireOf("k", "c1", 0))
		tb.outcome(e, 0, nil)
		acks := []Ack{{Partition: ring.PartitionOf("k", testPartitions), Seq: 1}}
		set[0].service.Acked(set[1].member.Identity, old, acks)
		tb.rest()
		tb.outcome(e, 0, nil)
		lost.open()
		set[0].service.LinkUp(set[1].member.Identity)
		tb.rest()
		tb.granted(e)
	})
}

// 4.5: nobody is served before the backups have confirmed the base of the epoch.
func TestServesWhenBackupsAreSynced(t *testing.T) {
	bubble(t, func(tb *table) {
		a := tb.seat("ab", 2)[0]
		syncs := tb.hold(syncMessage, "a", "b")
		tb.deal("ab")
		e := tb.ask(a, acquireOf(tb.keyOf("a"), "c1", 0))
		if st := a.service.Stats(); st.Active > 0 || st.Owned == 0 {
			t.Errorf("%s: %d of %d partitions are active before their backup has them", invariant.Replicated, st.Active, st.Owned)
		}
		tb.outcome(e, 0, nil)
		syncs.release()
		tb.granted(e)
	})
}

// Q5: in the period after an activation a waiter that has not come back yet keeps its
// place before one that has.
func TestPlacesOutliveTheOwner(t *testing.T) {
	bubble(t, func(tb *table) {
		seats := tb.seat("abc", 2)
		a, b := seats[0], seats[1]
		k := tb.keyFor("abc:ab", "bc:b")
		tb.deal("abc")
		c1 := tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
		first := tb.ask(a, acquireOf(k, "c2", time.Minute))
		second := tb.ask(a, acquireOf(k, "c3", time.Minute))
		a.crash()
		tb.deal("bc")
		second.again(b)
		tb.outcome(tb.ask(b, releaseOf(k, c1)), Done, nil)
		tb.pass(rules.Period(10*time.Second) / 2)
		first.again(b)
		if f, s := first.last(), second.last(); f.Outcome != Done || s.Outcome != Queued {
			t.Errorf("%s: the first in line is answered %+v, the second %+v", invariant.Fair, f, s)
		}
	})
}
