package compact

import "fmt"

// slab hands out records by number, from 1, and takes them back. A record stays where it
// is for as long as it is in use, unless pack moves it. The lowest number that is free is
// handed out first. The zero value is empty.
type Slab[T any] struct {
	records array[T]
	// packing: records are being moved together; see pack.
	packing bool
	// free are the numbers that were given back, less 1.
	free bitmap
}

// take gives the number of a record, which is zero.
func (s *Slab[T]) Take() uint32 {
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
func (s *Slab[T]) At(id uint32) *T { return s.records.at(int(id) - 1) }

// give takes a record back.
func (s *Slab[T]) Give(id uint32) {
	var zero T
	*s.At(id) = zero
	s.free.add(int(id) - 1)
}

// last returns the highest number that may be in use.
func (s *Slab[T]) Last() int { return s.records.len() }

// Packing reports whether pack has more to do.
func (s *Slab[T]) Packing() bool { return s.packing }

// used is the number of records in use.
func (s *Slab[T]) Used() int { return s.records.len() - s.free.n }

// sparse: most of the memory is of no use, so that it pays to move what is left.
func (s *Slab[T]) Sparse() bool {
	return s.records.room() >= ShrinkFrom && s.Used() <= s.records.room()/4
}

// pack goes on to move records into the lowest free numbers, if the slab is sparse or has
// been since packing began, and gives memory back behind the last. It touches most records
// at most, and returns how many those were. moved is told after each move; then the old
// record is gone.
func (s *Slab[T]) Pack(most int, moved func(from, to uint32)) (touched int) {
	if !s.packing {
		if !s.Sparse() {
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
		*s.At(to) = *s.At(from)
		moved(from, to)
		s.records.pop()
	}
	if s.free.n == 0 {
		s.packing, s.free = false, bitmap{}
	}
	return touched
}

// check: the free records were counted.
func (s *Slab[T]) Check() error {
	free := 0
	for i := range s.records.len() {
		if s.free.has(i) {
			free++
		}
	}
	if free != s.free.n {
		return fmt.Errorf("%d records of %d are free, counted were %d", free, s.records.len(), s.free.n)
	}
	return nil
}

// room returns the number of records that there is memory for.
func (s *Slab[T]) Room() int { return s.records.room() }
