package compact

import "fmt"

// A Slab allocates records by number, from 1. A record stays where it is while it is in use, unless
// Pack moves it. Take returns the lowest free number. The zero value is empty.
type Slab[T any] struct {
	records array[T]
	// packing is set while records are being moved together; see Pack.
	packing bool
	// free has the free numbers, less 1.
	free bitmap
}

// Take allocates a record, whose fields are zero, and returns its number.
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

// At returns the record with a number that is in use.
func (s *Slab[T]) At(id uint32) *T { return s.records.at(int(id) - 1) }

// Give frees a record.
func (s *Slab[T]) Give(id uint32) {
	var zero T
	*s.At(id) = zero
	s.free.add(int(id) - 1)
}

// Last returns the highest number that may be in use.
func (s *Slab[T]) Last() int { return s.records.len() }

// Packing reports whether Pack has more to do.
func (s *Slab[T]) Packing() bool { return s.packing }

// Used returns the number of records in use.
func (s *Slab[T]) Used() int { return s.records.len() - s.free.n }

// Sparse reports whether so much of the memory is unused that it pays to move the rest together.
func (s *Slab[T]) Sparse() bool {
	return s.records.room() >= ShrinkFrom && s.Used() <= s.records.room()/4
}

// Pack moves records to the lowest free numbers and frees the memory behind the last one. It starts
// when the slab is sparse and continues, call by call, until no number is free. A call touches at most
// most records and returns how many. moved is called after each move, when the old record is gone.
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

// Check returns an error unless the free records were counted correctly.
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

// Room returns the number of records that there is memory for.
func (s *Slab[T]) Room() int { return s.records.room() }
