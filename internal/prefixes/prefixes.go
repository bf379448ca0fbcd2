// Package prefixes finds all prefixes of a key in a large set of prefixes.
package prefixes

import "slices"

// A Set holds prefixes, each with a value. The cost of a look-up depends on the length of the key and
// on how many of the prefixes it has, not on the size of the set. The zero value is an empty set.
type Set[V any] struct {
	values map[string]V
	// lengths are the lengths of the prefixes, in order, with how many there are of each.
	lengths []length
}

type length struct{ bytes, count int }

// Len returns the number of prefixes.
func (s *Set[V]) Len() int { return len(s.values) }

// Lengths returns the number of different lengths of the prefixes, which bounds the cost of a look-up.
func (s *Set[V]) Lengths() int { return len(s.lengths) }

// Get returns the value of a prefix.
func (s *Set[V]) Get(prefix string) (V, bool) {
	v, ok := s.values[prefix]
	return v, ok
}

// Put adds a prefix, or changes its value.
func (s *Set[V]) Put(prefix string, v V) {
	if s.values == nil {
		s.values = map[string]V{}
	}
	if _, known := s.values[prefix]; !known {
		i, some := s.find(prefix)
		if !some {
			s.lengths = slices.Insert(s.lengths, i, length{bytes: len(prefix)})
		}
		s.lengths[i].count++
	}
	s.values[prefix] = v
}

// Delete removes a prefix.
func (s *Set[V]) Delete(prefix string) {
	if _, known := s.values[prefix]; !known {
		return
	}
	delete(s.values, prefix)
	i, _ := s.find(prefix)
	if s.lengths[i].count--; s.lengths[i].count == 0 {
		s.lengths = slices.Delete(s.lengths, i, i+1)
	}
}

// find finds the length of a prefix.
func (s *Set[V]) find(prefix string) (i int, ok bool) {
	return slices.BinarySearchFunc(s.lengths, len(prefix), func(l length, n int) int { return l.bytes - n })
}

// Of calls fn with the values of all prefixes that the key has, until fn returns false.
func (s *Set[V]) Of(key string, fn func(V) bool) {
	for _, l := range s.lengths {
		if l.bytes > len(key) {
			return
		}
		if v, ok := s.values[key[:l.bytes]]; ok && !fn(v) {
			return
		}
	}
}

// Any reports whether the key has any of the prefixes.
func (s *Set[V]) Any(key string) (found bool) {
	s.Of(key, func(V) bool {
		found = true
		return false
	})
	return found
}

// All calls fn with all prefixes and their values.
func (s *Set[V]) All(fn func(prefix string, v V)) {
	for prefix, v := range s.values {
		fn(prefix, v)
	}
}
