package owner

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

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
		tb.loseOps(link(set[0], set[1]), true)
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

// lateSync are peers that take a base only when they are let.
type lateSync struct {
	*table
	let chan struct{}
}

func (l lateSync) Sync(ctx context.Context, to ring.Member, epoch uint32, bases []Base) error {
	select {
	case <-l.let:
		return l.table.Sync(ctx, to, epoch, bases)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// 4.5: nobody is served before the backups have confirmed the base of the epoch.
func TestServesWhenBackupsAreSynced(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.replicas = 2
		a := tb.process("a")
		a.service.Stop()
		let := make(chan struct{})
		a.service = NewService(Config{
			Self: a.member.Identity, Name: "a", Partitions: testPartitions, MaxTTL: 30 * time.Second, MaxWaiters: 9,
			Shards: 2, Clock: tb.clock, Peers: lateSync{tb, let}, Log: slog.New(slog.DiscardHandler),
		})
		tb.t.Cleanup(a.service.Stop)
		tb.process("b")
		tb.view([]string{"a", "b"})
		e := tb.ask(a, acquireOf(tb.keyOf("a"), "c1", 0))
		if st := a.service.Stats(); st.Active > 0 || st.Owned == 0 {
			t.Errorf("%d of %d partitions are active before their backup has them", st.Active, st.Owned)
		}
		tb.outcome(e, 0, nil)
		close(let)
		synctest.Wait()
		tb.granted(e)
	})
}
