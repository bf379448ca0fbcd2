package owner

import (
	"math/bits"
	"slices"
)

// shrinkFrom is the size, in entries, from which a store that is nearly empty is worth
// packing.
const shrinkFrom = 64

// array is a list that grows and shrinks by a chunk at a time: it has little room to
// spare, and what it holds stays where it is. The zero value is empty.
type array[T any] struct {
	chunks []*[chunkLen]T
	n      int
}

const chunkLen = 32

func (a *array[T]) len() int { return a.n }

// room is the number of elements that there is memory for.
func (a *array[T]) room() int { return len(a.chunks) * chunkLen }

// at is the element i, from 0. The pointer is good until the element is popped.
func (a *array[T]) at(i int) *T { return &a.chunks[uint(i)/chunkLen][uint(i)%chunkLen] }

func (a *array[T]) push(v T) {
	if a.n == a.room() {
		a.chunks = append(a.chunks, new([chunkLen]T))
	}
	a.n++
	*a.at(a.n - 1) = v
}

// pop takes the last element off.
func (a *array[T]) pop() {
	var zero T
	*a.at(a.n - 1) = zero
	a.n--
	// A chunk more than is needed is kept, so that a list whose length goes up and down by
	// one allocates nothing; but half a chunk needs no second one.
	if spare := a.room() - a.n; spare >= 2*chunkLen || spare > chunkLen && a.n < chunkLen/2 {
		last := len(a.chunks) - 1
		a.chunks[last] = nil
		a.chunks = fitting(a.chunks[:last])
	}
}

// fitting returns the list, or a copy if the list has room for much more than is in it.
func fitting[T any](list []T) []T {
	if cap(list) >= shrinkFrom && len(list) <= cap(list)/4 {
		return slices.Clone(list)
	}
	return list
}

// sparseArray is an array by number, from 1, most of whose elements may be zero: there is
// memory only for chunks with one that was set. The zero value has zeros only.
type sparseArray struct{ chunks []*[chunkLen]uint32 }

// get returns the element of a number.
func (a *sparseArray) get(id uint32) uint32 {
	i := uint(id - 1)
	if i/chunkLen >= uint(len(a.chunks)) || a.chunks[i/chunkLen] == nil {
		return 0
	}
	return a.chunks[i/chunkLen][i%chunkLen]
}

// set changes the element of a number.
func (a *sparseArray) set(id, v uint32) {
	i := uint(id - 1)
	if n := int(i/chunkLen) + 1; n > len(a.chunks) {
		a.chunks = append(a.chunks, make([]*[chunkLen]uint32, n-len(a.chunks))...)
	}
	chunk := &a.chunks[i/chunkLen]
	if *chunk == nil {
		*chunk = new([chunkLen]uint32)
	}
	(*chunk)[i%chunkLen] = v
}

// cut forgets the elements of numbers above n, which are zero.
func (a *sparseArray) cut(n int) {
	if keep := (n + chunkLen - 1) / chunkLen; keep < len(a.chunks) {
		clear(a.chunks[keep:])
		a.chunks = fitting(a.chunks[:keep])
	}
}

// room is the number of elements that there may be memory for.
func (a *sparseArray) room() int { return len(a.chunks) * chunkLen }

// bitmap is a set of small numbers, from 0. Its smallest is found without looking at more
// than a word for each 4096 numbers. The zero value is empty.
type bitmap struct {
	n int
	// low has a bit for each number below 64; mostly there are no others.
	low uint64
	// high has the other numbers, less 64; nil before the first.
	high *wideBitmap
}

// wideBitmap is a set of numbers of any size.
type wideBitmap struct {
	// words have a bit for each number, sums a bit for each word that is not 0.
	words, sums []uint64
}

func (b *bitmap) has(i int) bool {
	if i < 64 {
		return b.low>>i&1 != 0
	}
	i -= 64
	return b.high != nil && i/64 < len(b.high.words) && b.high.words[i/64]>>(i%64)&1 != 0
}

// add adds a number that is not there.
func (b *bitmap) add(i int) {
	b.n++
	if i < 64 {
		b.low |= 1 << i
		return
	}
	if b.high == nil {
		b.high = &wideBitmap{}
	}
	b.high.add(i - 64)
}

func (b *wideBitmap) add(i int) {
	w := i / 64
	if w >= len(b.words) {
		b.words = append(b.words, make([]uint64, w+1-len(b.words))...)
		b.sums = append(b.sums, make([]uint64, w/64+1-len(b.sums))...)
	}
	b.words[w] |= 1 << (i % 64)
	b.sums[w/64] |= 1 << (w % 64)
}

// remove removes a number that is there.
func (b *bitmap) remove(i int) {
	b.n--
	if i < 64 {
		b.low &^= 1 << i
		return
	}
	b.high.remove(i - 64)
}

func (b *wideBitmap) remove(i int) {
	w := i / 64
	if b.words[w] &^= 1 << (i % 64); b.words[w] == 0 {
		b.sums[w/64] &^= 1 << (w % 64)
	}
}

// first returns the smallest number; b is not empty.
func (b *bitmap) first() int {
	if b.low != 0 {
		return bits.TrailingZeros64(b.low)
	}
	return 64 + b.high.first()
}

func (b *wideBitmap) first() int {
	s := 0
	for b.sums[s] == 0 {
		s++
	}
	w := s*64 + bits.TrailingZeros64(b.sums[s])
	return w*64 + bits.TrailingZeros64(b.words[w])
}

// slab hands out records by number, from 1, and takes them back. A record stays where it
// is for as long as it is in use, unless pack moves it. The lowest number that is free is
// handed out first. The zero value is empty.
type slab[T any] struct {
	records array[T]
	// packing: records are being moved together; see pack.
	packing bool
	// free are the numbers that were given back, less 1.
	free bitmap
}

// take gives the number of a record, which is zero.
func (s *slab[T]) take() uint32 {
	if s.free.n > 0 {
		i := s.free.first()
		s.free.remove(i)
		return uint32(i + 1)
	}
	var zero T
	s.records.push(zero)
	return uint32(s.records.len())
}

// at is the record with a number that is in use.
func (s *slab[T]) at(id uint32) *T { return s.records.at(int(id) - 1) }

// give takes a record back.
func (s *slab[T]) give(id uint32) {
	var zero T
	*s.at(id) = zero
	s.free.add(int(id) - 1)
}

// used is the number of records in use.
func (s *slab[T]) used() int { return s.records.len() - s.free.n }

// sparse: most of the memory is of no use, so that it pays to move what is left.
func (s *slab[T]) sparse() bool {
	return s.records.room() >= shrinkFrom && s.used() <= s.records.room()/4
}

// pack goes on to move records into the lowest free numbers, if the slab is sparse or has
// been since packing began, and gives memory back behind the last. It touches most records
// at most, and returns how many those were. moved is told after each move; then the old
// record is gone.
func (s *slab[T]) pack(most int, moved func(from, to uint32)) (touched int) {
	if !s.packing {
		if !s.sparse() {
			return 0
		}
		s.packing = true
	}
	for ; touched < most && s.free.n > 0; touched++ {
		last := s.records.len()
		if s.free.has(last - 1) {
			s.free.remove(last - 1)
			s.records.pop()
			continue
		}
		from, to := uint32(last), uint32(s.free.first()+1)
		s.free.remove(int(to) - 1)
		*s.at(to) = *s.at(from)
		moved(from, to)
		s.records.pop()
	}
	if s.free.n == 0 {
		s.packing, s.free = false, bitmap{}
	}
	return touched
}
