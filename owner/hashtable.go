package owner

// hashTable finds records by a hash. It is an extendible hash table: a directory of small
// tables, each for the hashes with the same lowest bits. So neither put nor remove touches
// more than one small table, however many records there are, and the memory of those that
// are gone is given back on the way. The zero value is empty.
type hashTable[V comparable] struct {
	// one is the only table while there are few records.
	one hashIndex[V]
	// many holds all records once there are more; it is nil before. It is behind a pointer so
	// that a table of few records takes little room: each partition has several tables.
	many *directory[V]
}

// directory finds the small table of a hash.
type directory[V comparable] struct {
	// tables has 2^bits places, of which several may share a table.
	tables []*splitTable[V]
	bits   uint8
	// n is the number of records.
	n int
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

// len is the number of records.
func (t *hashTable[V]) len() int {
	if t.many == nil {
		return t.one.n
	}
	return t.many.n
}

// place is where the table of a hash is among the tables.
func (d *directory[V]) place(hash uint32) uint32 { return hash & (1<<d.bits - 1) }

// table is the one where a hash belongs.
func (t *hashTable[V]) table(hash uint32) *hashIndex[V] {
	if t.many == nil {
		return &t.one
	}
	return &t.many.tables[t.many.place(hash)].hashIndex
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
	if t.many != nil {
		t.many.n++
	}
}

// remove takes a record out that is there.
func (t *hashTable[V]) remove(hash uint32, id V) {
	t.table(hash).remove(hash, id)
	if t.many == nil {
		return
	}
	if t.many.n--; t.many.n <= joinTo {
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
		t.many = &directory[V]{tables: []*splitTable[V]{{hashIndex: t.one}}, n: t.one.n}
		t.one = hashIndex[V]{}
	}
	d := t.many
	old := d.tables[d.place(hash)]
	if old.bits == mostBits {
		return false
	}
	if old.bits == d.bits {
		d.tables = append(d.tables, d.tables...)
		d.bits++
	}
	var none V
	two := [2]*splitTable[V]{{bits: old.bits + 1}, {bits: old.bits + 1}}
	for _, s := range old.slots {
		if s.id != none {
			two[s.hash>>old.bits&1].put(s.hash, s.id)
		}
	}
	step := 1 << old.bits // between the places that shared the old table
	for i := int(hash) & (step - 1); i < len(d.tables); i += step {
		d.tables[i] = two[i>>old.bits&1]
	}
	return true
}

// join makes one table of all.
func (t *hashTable[V]) join() {
	var none V
	for s := range t.many.each {
		for _, slot := range s.slots {
			if slot.id != none {
				t.one.put(slot.hash, slot.id)
			}
		}
	}
	t.many = nil
}

// each calls fn for every table, until it returns false.
func (d *directory[V]) each(fn func(*splitTable[V]) bool) {
	for i, s := range d.tables {
		// Or it is the same table as at an earlier place.
		if i < 1<<s.bits && !fn(s) {
			return
		}
	}
}

// each calls fn for every record, in any order, until it returns false. fn may change
// the number.
func (t *hashTable[V]) each(fn func(*slot[V]) bool) {
	if t.many == nil {
		t.one.each(fn)
		return
	}
	for s := range t.many.each {
		if !s.hashIndex.each(fn) {
			return
		}
	}
}
