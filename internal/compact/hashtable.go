package compact

import "fmt"

// hashTable finds records by a hash. It is an extendible hash table: a directory of small
// tables, each for the hashes with the same lowest bits. So neither put nor remove touches
// more than one small table, however many records there are, and the memory of those that
// are gone is given back on the way. The zero value is empty.
type HashTable[V comparable] struct {
	// one is the only table while there are few records.
	one bucket[V]
	// many holds all records once there are more; it is nil before. It is behind a pointer so
	// that a table of few records takes little room: each partition has several tables.
	many *directory[V]
}

// directory finds the small table of a hash.
type directory[V comparable] struct {
	// tables has 2^bits places, of which several may share a table.
	buckets []*deepBucket[V]
	depth   uint8
	// n is the number of records.
	n int
}

// splitTable is the table of the hashes whose lowest bits are the same.
type deepBucket[V comparable] struct {
	bucket[V]
	depth uint8
}

const (
	// splitFrom is how many records a small table may have before it is split, and
	// joinTo how few records there must be for one table to hold all again.
	splitFrom = 512
	joinTo    = 128
	// mostBits bounds the directory. Records whose hashes have more bits in common share a
	// table of any size; the seeds of the hashes make such hashes impossible to choose.
	mostDepth = 12
)

// len is the number of records.
func (t *HashTable[V]) Len() int {
	if t.many == nil {
		return t.one.n
	}
	return t.many.n
}

// place is where the table of a hash is among the tables.
func (d *directory[V]) place(hash uint32) uint32 { return hash & (1<<d.depth - 1) }

// table is the one where a hash belongs.
func (t *HashTable[V]) bucket(hash uint32) *bucket[V] {
	if t.many == nil {
		return &t.one
	}
	return &t.many.buckets[t.many.place(hash)].bucket
}

// find returns the record with this hash that is the one, or zero.
func (t *HashTable[V]) Find(hash uint32, is func(id V) bool) V {
	return t.bucket(hash).find(hash, is)
}

// put enters a record that is not there.
func (t *HashTable[V]) Put(hash uint32, id V) {
	for t.bucket(hash).n >= splitFrom && t.split(hash) {
	}
	t.bucket(hash).put(hash, id)
	if t.many != nil {
		t.many.n++
	}
}

// remove takes a record out that is there.
func (t *HashTable[V]) Remove(hash uint32, id V) {
	t.bucket(hash).remove(hash, id)
	if t.many == nil {
		return
	}
	if t.many.n--; t.many.n <= joinTo {
		t.join()
	}
}

// move gives a record that is there another number.
func (t *HashTable[V]) Renumber(hash uint32, from, to V) {
	x := t.bucket(hash)
	x.slots[x.place(hash, from)].id = to
}

// split makes two tables of the one where a hash belongs. It returns false if that
// would need a larger directory than there may be.
func (t *HashTable[V]) split(hash uint32) bool {
	if t.many == nil {
		t.many = &directory[V]{buckets: []*deepBucket[V]{{bucket: t.one}}, n: t.one.n}
		t.one = bucket[V]{}
	}
	d := t.many
	old := d.buckets[d.place(hash)]
	if old.depth == mostDepth {
		return false
	}
	if old.depth == d.depth {
		d.buckets = append(d.buckets, d.buckets...)
		d.depth++
	}
	var none V
	two := [2]*deepBucket[V]{{depth: old.depth + 1}, {depth: old.depth + 1}}
	for _, s := range old.slots {
		if s.id != none {
			two[s.hash>>old.depth&1].put(s.hash, s.id)
		}
	}
	step := 1 << old.depth // between the places that shared the old table
	for i := int(hash) & (step - 1); i < len(d.buckets); i += step {
		d.buckets[i] = two[i>>old.depth&1]
	}
	return true
}

// join makes one table of all.
func (t *HashTable[V]) join() {
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
func (d *directory[V]) each(fn func(*deepBucket[V]) bool) {
	for i, s := range d.buckets {
		// Or it is the same table as at an earlier place.
		if i < 1<<s.depth && !fn(s) {
			return
		}
	}
}

// each calls fn for every record, in any order, until it returns false.
func (t *HashTable[V]) Each(fn func(V) bool) {
	if t.many == nil {
		t.one.each(fn)
		return
	}
	for s := range t.many.each {
		if !s.bucket.each(fn) {
			return
		}
	}
}

// check: every record is in the one table of its hash.
func (t *HashTable[V]) Check() error {
	if err := t.one.check(); err != nil {
		return err
	}
	var none V
	if t.many == nil {
		return nil
	}
	n, tables := t.one.n, t.many.buckets
	for i, s := range tables {
		if s.depth > t.many.depth || s != tables[i&(1<<s.depth-1)] {
			return fmt.Errorf("the table at place %d of %d is not the one of its bits", i, len(tables))
		}
		if i >= 1<<s.depth {
			continue
		}
		n += s.n
		for _, slot := range s.slots {
			if slot.id != none && int(slot.hash)&(1<<s.depth-1) != i {
				return fmt.Errorf("record %v is in the table at place %d", slot.id, i)
			}
		}
		if err := s.bucket.check(); err != nil {
			return err
		}
	}
	if n != t.Len() {
		return fmt.Errorf("there are %d records in %d tables, counted were %d", n, len(tables), t.Len())
	}
	return nil
}

// room returns the number of records that there is memory for.
func (t *HashTable[V]) Room() int {
	n := len(t.one.slots)
	if t.many != nil {
		for s := range t.many.each {
			n += len(s.slots)
		}
	}
	return n
}
