package compact

import "slices"

// ShrinkFrom is the capacity, in entries, from which it is worth shrinking a container that is
// nearly empty.
const ShrinkFrom = 64

// An array is a list that grows and shrinks by a chunk at a time. It has little spare capacity, and
// its elements do not move. The zero value is empty.
type array[T any] struct {
	chunks []*[arrayChunk]T
	n      int
}

const arrayChunk = 32

func (a *array[T]) len() int { return a.n }

// room returns the number of elements that there is memory for.
func (a *array[T]) room() int { return len(a.chunks) * arrayChunk }

// at returns the element with index i, from 0. The pointer is valid until the element is popped.
func (a *array[T]) at(i int) *T { return &a.chunks[uint(i)/arrayChunk][uint(i)%arrayChunk] }

func (a *array[T]) push(v T) {
	if a.n == a.room() {
		a.chunks = append(a.chunks, new([arrayChunk]T))
	}
	a.n++
	*a.at(a.n - 1) = v
}

// pop removes the last element.
func (a *array[T]) pop() {
	var zero T
	*a.at(a.n - 1) = zero
	a.n--
	// Keep one spare chunk, so that a list whose length goes up and down by one does not allocate.
	// A list of less than half a chunk does not keep a second one.
	if spare := a.room() - a.n; spare >= 2*arrayChunk || spare > arrayChunk && a.n < arrayChunk/2 {
		last := len(a.chunks) - 1
		a.chunks[last] = nil
		a.chunks = fitting(a.chunks[:last])
	}
}

// fitting returns the list, or a copy if most of its capacity is unused.
func fitting[T any](list []T) []T {
	if cap(list) >= ShrinkFrom && len(list) <= cap(list)/4 {
		return slices.Clone(list)
	}
	return list
}

// A sparseArray is an array, indexed from 1, most of whose elements may be zero. There is memory
// only for chunks in which an element was set. In the zero value all elements are zero.
type sparseArray struct{ chunks []*[arrayChunk]uint32 }

// get returns the element of a number.
func (a *sparseArray) get(id uint32) uint32 {
	i := uint(id - 1)
	if i/arrayChunk >= uint(len(a.chunks)) || a.chunks[i/arrayChunk] == nil {
		return 0
	}
	return a.chunks[i/arrayChunk][i%arrayChunk]
}

// set changes the element of a number.
func (a *sparseArray) set(id, v uint32) {
	i := uint(id - 1)
	if n := int(i/arrayChunk) + 1; n > len(a.chunks) {
		a.chunks = append(a.chunks, make([]*[arrayChunk]uint32, n-len(a.chunks))...)
	}
	chunk := &a.chunks[i/arrayChunk]
	if *chunk == nil {
		*chunk = new([arrayChunk]uint32)
	}
	(*chunk)[i%arrayChunk] = v
}

// cut frees the memory of the elements above n, which must be zero.
func (a *sparseArray) cut(n int) {
	if keep := (n + arrayChunk - 1) / arrayChunk; keep < len(a.chunks) {
		clear(a.chunks[keep:])
		a.chunks = fitting(a.chunks[:keep])
	}
}

// room returns the largest number of elements that there may be memory for.
func (a *sparseArray) room() int { return len(a.chunks) * arrayChunk }
