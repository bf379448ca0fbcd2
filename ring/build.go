package ring

import (
	"cmp"
	"slices"
)

// builder computes the replica sets of one ring. It numbers the members in the order of their ids.
type builder struct {
	ids        []string
	placed     []int32 // member -> index in the view
	partitions int
	replicas   int
	// sets holds the replica sets one after the other. It is filled level by level: first all
	// owners, then all first backups, and so on.
	sets []int32
}

func newBuilder(v View, placed []int32, partitions, replicas int) *builder {
	b := &builder{
		ids:        make([]string, len(placed)),
		placed:     placed,
		partitions: partitions,
		replicas:   replicas,
		sets:       make([]int32, partitions*replicas),
	}
	for m, i := range placed {
		b.ids[m] = v.Members[i].ID
	}
	return b
}

// table returns the replica sets as indices of the view's members.
func (b *builder) table() []int32 {
	for p, m := range libraryOwners(b.ids, b.partitions) {
		b.set(p)[0] = m
	}
	if b.replicas > 1 {
		c := newCircle(b.ids, b.partitions)
		nested := b.replicas
		if len(b.ids) > maxNested {
			nested = 2
		}
		for level := 1; level < nested; level++ {
			b.promoted(c, level)
		}
		if nested < b.replicas {
			b.neighbours(nested)
		}
	}
	for i, m := range b.sets {
		b.sets[i] = b.placed[m]
	}
	return b.sets
}

func (b *builder) set(p int) []int32 {
	return b.sets[p*b.replicas : (p+1)*b.replicas]
}

// promoted fills one level of all sets with the members that would own the partitions without the
// members of the lower levels. It needs one walk for each combination of lower levels that occurs.
func (b *builder) promoted(c *circle, level int) {
	order := make([]int, b.partitions)
	gone := make([]int32, b.partitions*level)
	before := func(p int) []int32 { return gone[p*level : (p+1)*level] }
	for p := range order {
		order[p] = p
		copy(before(p), b.set(p))
		slices.Sort(before(p)) // {a,b} and {b,a} leave the same ring.
	}
	slices.SortFunc(order, func(p, q int) int { return slices.Compare(before(p), before(q)) })

	absent := make([]bool, len(b.ids))
	owner := make([]int32, b.partitions)
	for i, p := range order {
		if i == 0 || !slices.Equal(before(p), before(order[i-1])) {
			clear(absent)
			for _, m := range before(p) {
				absent[m] = true
			}
			c.without(absent, owner)
		}
		b.set(p)[level] = owner[p]
	}
}

// neighbours fills all levels from the given one on with the members that follow, on a circle of
// hashed ids, the member of the level below.
func (b *builder) neighbours(from int) {
	order := make([]int32, len(b.ids))
	for m := range order {
		order[m] = int32(m)
	}
	slices.SortFunc(order, func(a, c int32) int {
		return cmp.Or(cmp.Compare(memberHash(b.ids[a]), memberHash(b.ids[c])), cmp.Compare(a, c))
	})
	position := make([]int, len(order))
	for i, m := range order {
		position[m] = i
	}
	for p := range b.partitions {
		set := b.set(p)
		next := position[set[from-1]]
		for level := from; level < b.replicas; level++ {
			for {
				next = (next + 1) % len(order)
				if !slices.Contains(set[:level], order[next]) {
					break
				}
			}
			set[level] = order[next]
		}
	}
}
