//go:build release_next

package owner

import (
	"testing"

	"github.com/sgkandale/sharelock/ring"
)

// W1: what a release adds is used only in views that support it.
func TestMarkNeedsTheRelease(t *testing.T) {
	bubble(t, func(tb *table) {
		seats := tb.seat("ab", 2)
		for release := uint32(1); release <= extraRelease; release++ {
			tb.release = release
			tb.deal("ab")
			k := tb.keyOf("a")
			tb.granted(tb.ask(seats[0], acquireOf(k, "c1", 0)))
			ops := tb.tap(opsMessage, "a", "b")
			tb.outcome(tb.ask(seats[0], Request{Kind: Get, Key: k}), Done, nil)
			ops.open()
			want := OpRead
			if release == extraRelease {
				want = opMark
			}
			var got OpKind
			seats[0].service.inShard(ring.PartitionOf(k, testPartitions), func(_ *shard, p *partition) { got = p.m.place() })
			if got != want || ops.count() == 0 {
				t.Errorf("in release %d a read is %v, %d messages to the backup, want %v", release, got, ops.count(), want)
			}
		}
		if n := seats[1].unknown.Load(); n != 0 {
			t.Errorf("the backup has met %d ops that it does not know", n)
		}
	})
}
