package mesh

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

func TestKeepLongest(t *testing.T) {
	waits := func(waits ...time.Duration) (list []sharelock.Contention) {
		for _, w := range waits {
			list = append(list, sharelock.Contention{LongestWait: w})
		}
		return list
	}
	for _, c := range []struct {
		limit int
		want  [3]int
	}{{0, [3]int{0, 0, 0}}, {1, [3]int{0, 0, 1}}, {3, [3]int{1, 0, 2}}, {4, [3]int{1, 1, 2}}, {6, [3]int{2, 2, 2}}, {100, [3]int{2, 2, 2}}} {
		list := []sharelock.Activity{{Contended: waits(7, 3)}, {Contended: waits(5, 5)}, {Contended: waits(9, 8)}}
		keepLongest(list, c.limit)
		for i, a := range list {
			if len(a.Contended) != c.want[i] {
				t.Errorf("limit %d: member %d keeps %d keys, want %d", c.limit, i, len(a.Contended), c.want[i])
			}
		}
	}
}
