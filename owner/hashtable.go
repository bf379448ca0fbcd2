package owner

// hashTable finds records by a hash. It is an extendible hash table: a directory of small
// tables, each for the hashes with the same lowest bits. So neither put nor remove touches
// more than one small table, however many records there are, and the memory of those that
// are gone is given back on the way. The zero value is empty.
type hashTable[V comparable] struct {
	// one is the only table while there are few records.
	one hashIndex[V]
	// many has 2^bits places, of which several may share a table; it is nil while there
	// is only one.
	many []*splitTable[V]
	bits uint8
	n    int
}

// splitTable is the table of the hashes whose lowest bits are the same.
type splitTable[V comparable] struct {
	hashIndex[V]
	bits uint8
}

const (
	// splitFrom is how many records a small table may have before it is split, and
	// joinTo how few records there must be for one table to hold all again.
	splitFrom = 512
	joinTo    = 128
	// mostBits bounds the directory. Records whose hashes have more bits in common share a
	// table of any size; the seeds of the hashes make such hashes impossible to choose.
	mostBits = 12
)

// table is the one where a hash belongs.
func (t *hashTable[V]) table(hash uint32) *hashIndex[V] {
	if t.many == nil {
		return &t.one
	}
	return &t.many[hash&(1<<t.bits-1)].hashIndex
}

// find returns the record with this hash that is the one, or zero.
func (t *hashTable[V]) find(hash uint32, is func(id V) bool) V {
	return t.table(hash).find(hash, is)
}

// put enters a record that is not there.
func (t *hashTable[V]) put(hash uint32, id V) {
	for t.table(hash).n >= splitFrom && t.split(hash) {
	}
	t.table(hash).put(hash, id)
	t.n++
}

// remove takes a record out that is there.
func (t *hashTable[V]) remove(hash uint32, id V) {
	t.table(hash).remove(hash, id)
	t.n--
	if t.many != nil && t.n <= joinTo {
		t.join()
	}
}

// move gives a record that is there another number.
func (t *hashTable[V]) move(hash uint32, from, to V) {
	x := t.table(hash)
	x.slots[x.place(hash, from)].id = to
}

// split makes two tables of the one where a hash belongs. It returns false if that
// would need a larger directory than there may be.
func (t *hashTable[V]) split(hash uint32) bool {
	if t.many == nil {
		t.many = []*splitTable[V]{{hashIndex: t.one}}
		t.one = hashIndex[V]{}
	}
	old := t.many[hash&(1<<t.bits-1)]
	if old.bits == mostBits {
		return false
	}
	if old.bits == t.bits {
		t.many = append(t.many, t.many...)
		t.bits++
	}
	var none V
	two := [2]*splitTable[V]{{bits: old.bits + 1}, {bits: old.bits + 1}}
	for _, s := range old.slots {
		if s.id != none {
			two[s.hash>>old.bits&1].put(s.hash, s.id)
		}
	}
	step := 1 << old.bits // between the places that shared the old table
	for i := int(hash) & (step - 1); i < len(t.many); i += step {
		t.many[i] = two[i>>old.bits&1]
	}
	return true
}

// join makes one table of all.
func (t *hashTable[V]) join() {
	var none V
	many := t.many
	t.many, t.bits = nil, 0
	for i, s := range many {
		if i >= 1<<s.bits {
			continue // the same table as at an earlier place
		}
		for _, slot := range s.slots {
			if slot.id != none {
				t.one.put(slot.hash, slot.id)
			}
		}
	}
}

// each calls fn for every record, in any order, until it returns false. fn may change
// the number.
func (t *hashTable[V]) each(fn func(*slot[V]) bool) {
	if !t.one.each(fn) {
		return
	}
	for i, s := range t.many {
		if i < 1<<s.bits && !s.hashIndex.each(fn) {
			return
		}
	}
}
