package owner

import (
	"cmp"
	"math"
	"slices"

	"github.com/sgkandale/sharelock"
)

// Contention returns the keys of this member that somebody waits for, the longest wait first, at
// most limit. It reads one partition after the other, and a large one in steps, so that requests
// are not held up.
func (s *Service) Contention(limit int) []sharelock.Contention {
	var found []sharelock.Contention
	for p := range uint32(s.partitions) {
		for left := math.MaxInt; left > 0; {
			if !s.inShard(p, func(sh *shard, part *partition) {
				if !part.active {
					left = 0
					return
				}
				left = part.m.Contention(s.clock(), left, func(c sharelock.Contention) { found = append(found, c) })
				sh.saw(part.m)
			}) {
				left = 0
			}
			if len(found) > 2*limit+1024 {
				found = longest(found, limit)
			}
		}
	}
	return longest(found, limit)
}

// longest sorts by the longest wait and keeps the first limit.
func longest(list []sharelock.Contention, limit int) []sharelock.Contention {
	slices.SortFunc(list, func(a, b sharelock.Contention) int {
		return cmp.Or(cmp.Compare(b.LongestWait, a.LongestWait), cmp.Compare(b.Waiters, a.Waiters), cmp.Compare(a.Key, b.Key))
	})
	return list[:min(len(list), limit)]
}
