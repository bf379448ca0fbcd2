package owner

import (
	"testing"
	"testing/synctest"

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
		tb.lose(opsMessage, set[0].member.ID, set[1].member.ID)
		e := tb.ask(set[0], acquireOf("k", "c1", 0))
		tb.outcome(e, 0, nil)
		acks := []Ack{{Partition: ring.PartitionOf("k", testPartitions), Seq: 1}}
		set[0].service.Acked(set[1].member.Identity, old, acks)
		synctest.Wait()
		tb.outcome(e, 0, nil)
		set[0].service.Acked(set[1].member.Identity, old+1, acks)
		synctest.Wait()
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
			t.Errorf("%d of %d partitions are active before their backup has them", st.Active, st.Owned)
		}
		tb.outcome(e, 0, nil)
		syncs.release()
		tb.granted(e)
	})
}
