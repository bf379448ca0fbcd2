package ring

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// circle computes the owners of all partitions if some members were absent. It makes the same walk
// as the library, over the same points and with the same bound. Using the library would mean
// building a new circle for each set of absent members, which is a hundred times slower: a ring of
// 16 members with two backups needs 136 sets. A property test compares circle with the library.
type circle struct {
	members int
	// points are the points of all members, sorted by hash.
	points []point
	// start is, for each partition, the index of the point at which its walk begins.
	start []int32
	// load is scratch space: the number of partitions that each member owns in the current walk.
	load []int32
}

// point is one position of a member on the circle.
type point struct {
	hash   uint64
	member int32
}

func newCircle(ids []string, partitions int) *circle {
	c := &circle{
		members: len(ids),
		points:  make([]point, 0, len(ids)*pointsPerMember),
		start:   make([]int32, partitions),
		load:    make([]int32, len(ids)),
	}
	var buf []byte
	for m, id := range ids {
		for i := range pointsPerMember {
			var h uint64
			h, buf = pointHash(buf, id, i)
			c.points = append(c.points, point{hash: h, member: int32(m)})
		}
	}
	// If two members have the same point, the library keeps the one that was added last.
	slices.SortFunc(c.points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(b.member, a.member))
	})
	for p := range c.start {
		h := startHash(uint32(p))
		i := sort.Search(len(c.points), func(i int) bool { return c.points[i].hash >= h })
		c.start[p] = int32(i % len(c.points))
	}
	return c
}

// without fills owner with the member that owns each partition if the members for which absent is
// true are absent. At least one member must not be absent.
func (c *circle) without(absent []bool, owner []int32) {
	left := c.members
	for m, gone := range absent {
		c.load[m] = 0
		if gone {
			left--
		}
	}
	most := int32(math.Ceil(float64(len(owner)) / float64(left) * maxLoad))
	for m, gone := range absent {
		if gone {
			c.load[m] = most // full from the start, so the walk passes over it
		}
	}
	for p := range owner {
		i := int(c.start[p])
		for c.load[c.points[i].member] >= most {
			if i++; i == len(c.points) {
				i = 0
			}
		}
		m := c.points[i].member
		c.load[m]++
		owner[p] = m
	}
}
