//go:build release_next

package owner

import (
	"testing"

	"github.com/sgkandale/sharelock/owner/ops"
	"github.com/sgkandale/sharelock/ring"
)

// W1: what a release adds is used only in views that support it.
func TestMarkNeedsTheRelease(t *testing.T) {
	bubble(t, func(tb *table) {
		seats := tb.seat("ab", 2)
		for release := uint32(1); release <= ops.ExtraRelease; release++ {
			tb.release = release
			tb.deal("ab")
			k := tb.keyOf("a")
			tb.granted(tb.ask(seats[0], acquireOf(k, "c1", 0)))
			links := tb.tap(opsMessage, "a", "b")
			tb.outcome(tb.ask(seats[0], Request{Kind: Get, Key: k}), Done, nil)
			links.open()
			want := ops.Read
			if release == ops.ExtraRelease {
				want = ops.Mark
			}
			var got ops.Kind
			seats[0].service.inShard(ring.PartitionOf(k, testPartitions), func(_ *shard, p *partition) { got = p.m.ReadKind() })
			if got != want || links.count() == 0 {
				t.Errorf("in release %d a read is %v, %d messages to the backup, want %v", release, got, links.count(), want)
			}
		}
		if n := seats[1].unknown.Load(); n != 0 {
			t.Errorf("the backup has met %d ops that it does not know", n)
		}
	})
}

// W1: a backup takes what a release adds for unknown before the view's release has risen, as
// the programs of that release would.
func TestMarkIsUnknownBefore(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		for release := uint32(1); release <= ops.ExtraRelease; release++ {
			tb.release = release
			epoch := tb.view([]string{"a", "b", "c"})
			set := tb.set("k")
			owner, backup := set[0], set[1]
			tb.granted(tb.ask(owner, acquireOf("k", "c1", 0)))
			p := ring.PartitionOf("k", testPartitions)
			var seq uint64
			backup.service.inShard(p, func(_ *shard, p *partition) { seq = p.m.Seq() })
			acked := 0
			backup.service.Backup(owner.member.Identity, epoch, []Entries{{
				Partition: p, First: seq + 1, Ops: (&ops.Op{Kind: ops.Mark, Key: "k"}).Append(nil),
			}}, func(uint32, Ack) { acked++ })
			tb.rest()
			if known := release == ops.ExtraRelease; (acked == 1) != known || (backup.unknown.Load() == 0) != known {
				t.Errorf("in release %d the op was acknowledged %d times, and unknown %d times", release, acked, backup.unknown.Load())
			}
			backup.unknown.Store(0)
		}
	})
}
