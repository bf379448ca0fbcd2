package owner

// array is a list that grows by a chunk at a time: it has little room to spare, and
// what it holds stays where it is. It never shrinks: who owns it makes another. The
// zero value is empty.
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
}

// slab hands out records by number, from 1, and takes them back. A record stays
// where it is for as long as it is in use. The zero value is empty.
type slab[T any] struct {
	records array[T]
	// free are the numbers that were given back.
	free []uint32
}

// take gives the number of a record, which is zero.
func (s *slab[T]) take() uint32 {
	if last := len(s.free) - 1; last >= 0 {
		id := s.free[last]
		s.free = s.free[:last]
		return id
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
	s.free = append(s.free, id)
}

// used is the number of records in use.
func (s *slab[T]) used() int { return s.records.len() - len(s.free) }

// sparse: most of the memory is of no use, so that it pays to move what is left
// into another slab.
func (s *slab[T]) sparse() bool {
	return s.records.room() >= leanFrom && s.used() <= s.records.room()/4
}
