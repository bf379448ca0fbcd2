package owner

import (
	"cmp"
	"slices"

	"github.com/sgkandale/sharelock"
)

// Contention returns the keys of this member that somebody waits for, the longest wait first, at
// most limit. It reads one partition at a time, so that requests are not held up.
func (s *Service) Contention(limit int) []sharelock.Contention {
	var found []sharelock.Contention
	for p := range uint32(s.partitions) {
		s.inShard(p, func(_ *shard, part *partition) {
			if part.active {
				part.m.Contention(s.clock(), func(c sharelock.Contention) { found = append(found, c) })
			}
		})
		if len(found) > 2*limit+1024 {
			found = longest(found, limit)
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
