package compact

import "fmt"

// A bucket is a small hash table with open addressing that gives memory back when it shrinks. V is
// the number of a record or a pointer to it. The zero value is empty.
type bucket[V comparable] struct {
	// slots has at least one empty slot. A record is at the home of its hash or behind it, and
	// every slot in between is taken.
	slots []slot[V]
	n     int
}

type slot[V comparable] struct {
	hash uint32
	// id is the record; it is zero in an empty slot.
	id V
}

// leastSlots is the number of slots of the smallest table.
const leastSlots = 8

// home returns the slot where a hash belongs in a table of this size. Homes are in the order of the
// hashes.
func (x *bucket[V]) home(hash uint32) int {
	return int(uint64(hash) * uint64(len(x.slots)) >> 32)
}

func (x *bucket[V]) next(i int) int {
	if i++; i == len(x.slots) {
		return 0
	}
	return i
}

// find returns the record with this hash for which is returns true, or zero.
func (x *bucket[V]) find(hash uint32, is func(id V) bool) (none V) {
	if x.n == 0 {
		return none
	}
	for i := x.home(hash); x.slots[i].id != none; i = x.next(i) {
		if s := x.slots[i]; s.hash == hash && is(s.id) {
			return s.id
		}
	}
	return none
}

// put adds a record that is not in the table.
func (x *bucket[V]) put(hash uint32, id V) {
	if x.n >= len(x.slots)*4/5 {
		x.resize(max(len(x.slots)*3/2, leastSlots))
	}
	x.enter(slot[V]{hash, id})
	x.n++
}

func (x *bucket[V]) enter(s slot[V]) {
	var none V
	i := x.home(s.hash)
	for x.slots[i].id != none {
		i = x.next(i)
	}
	x.slots[i] = s
}

// place returns the slot of a record that is in the table.
func (x *bucket[V]) place(hash uint32, id V) int {
	i := x.home(hash)
	for x.slots[i].id != id {
		i = x.next(i)
	}
	return i
}

// remove removes a record that is in the table.
func (x *bucket[V]) remove(hash uint32, id V) {
	var none V
	i := x.place(hash, id)
	// A record behind the hole moves into it, unless its home is behind the hole, too.
	for j := x.next(i); x.slots[j].id != none; j = x.next(j) {
		if home := x.home(x.slots[j].hash); x.between(home, i, j) {
			x.slots[i], i = x.slots[j], j
		}
	}
	x.slots[i] = slot[V]{}
	x.n--
	if len(x.slots) >= ShrinkFrom && x.n <= len(x.slots)/8 {
		x.resize(2*x.n + leastSlots)
	}
}

// between reports whether the hole lies on the way from home to i.
func (x *bucket[V]) between(home, hole, i int) bool {
	if home <= i {
		return home <= hole && hole < i
	}
	return home <= hole || hole < i // the way wraps around the end
}

func (x *bucket[V]) resize(size int) {
	var none V
	old := x.slots
	x.slots = make([]slot[V], size)
	for _, s := range old {
		if s.id != none {
			x.enter(s)
		}
	}
}

// each calls fn for every record, in any order, until it returns false, and reports
// whether it never did.
func (x *bucket[V]) each(fn func(V) bool) bool {
	var none V
	for i := range x.slots {
		if s := &x.slots[i]; s.id != none && !fn(s.id) {
			return false
		}
	}
	return true
}

// check returns an error unless every record can be found from the home of its hash.
func (x *bucket[V]) check() error {
	var none V
	n := 0
	for i, s := range x.slots {
		if s.id == none {
			continue
		}
		n++
		for j := x.home(s.hash); j != i; j = x.next(j) {
			if x.slots[j].id == none {
				return fmt.Errorf("record %v in slot %d is not found from its home", s.id, i)
			}
		}
	}
	if n != x.n || n > 0 && n == len(x.slots) {
		return fmt.Errorf("%d records in %d slots of an index, counted were %d", n, len(x.slots), x.n)
	}
	return nil
}
