package search

import "hash/maphash"

const chunk = 1 << 15

// table numbers distinct states. It holds them in chunks, so that it grows without copying
// them, and finds them through an open-addressing table of their numbers.
type table[S comparable] struct {
	seed   maphash.Seed
	chunks [][]S
	n      int
	slots  []uint32 // the number of a state plus 1, or 0
}

func newTable[S comparable]() *table[S] {
	return &table[S]{seed: maphash.MakeSeed(), slots: make([]uint32, 1<<12)}
}

func (t *table[S]) len() int      { return t.n }
func (t *table[S]) at(i uint32) S { return t.chunks[i/chunk][i%chunk] }

// add returns the number of a state and whether it is new.
func (t *table[S]) add(s S) (uint32, bool) {
	slot := t.find(s)
	if n := t.slots[slot]; n != 0 {
		return n - 1, false
	}
	if t.n%chunk == 0 {
		t.chunks = append(t.chunks, make([]S, 0, chunk))
	}
	last := &t.chunks[len(t.chunks)-1]
	*last = append(*last, s)
	t.n++
	t.slots[slot] = uint32(t.n)
	if 2*t.n > len(t.slots) {
		t.grow()
	}
	return uint32(t.n - 1), true
}

// find returns the slot of a state, or the empty one where it belongs.
func (t *table[S]) find(s S) uint64 {
	mask := uint64(len(t.slots) - 1)
	slot := maphash.Comparable(t.seed, s) & mask
	for t.slots[slot] != 0 && t.at(t.slots[slot]-1) != s {
		slot = (slot + 1) & mask
	}
	return slot
}

func (t *table[S]) grow() {
	t.slots = make([]uint32, 2*len(t.slots))
	mask := uint64(len(t.slots) - 1)
	for i := range uint32(t.n) {
		slot := maphash.Comparable(t.seed, t.at(i)) & mask
		for t.slots[slot] != 0 {
			slot = (slot + 1) & mask
		}
		t.slots[slot] = i + 1
	}
}
