package compact

import "math/bits"

// A bitmap is a set of small numbers, from 0. Finding the smallest takes a look at no more than a
// word for each 4096 numbers. The zero value is empty.
type bitmap struct {
	n int
	// low has a bit for each number below 64. Usually there are no others.
	low uint64
	// high has the other numbers, less 64. It is nil before the first.
	high *wideBitmap
}

// A wideBitmap is a set of numbers of any size.
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

// add adds a number that is not in the set.
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

// remove removes a number that is in the set.
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

// first returns the smallest number. The set must not be empty.
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
