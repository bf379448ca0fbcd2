package compact

import "fmt"

// A HashTable finds records by a hash. It is an extendible hash table: a directory of buckets, each
// for the hashes with the same lowest bits. So neither Put nor Remove touches more than one small
// bucket, however many records there are, and the memory of removed records is given back along the
// way. The zero value is empty.
type HashTable[V comparable] struct {
	// one is the only bucket while there are few records.
	one bucket[V]
	// many has all records once there are more; it is nil before. The pointer keeps a table of few
	// records small: each partition has several tables.
	many *directory[V]
}

// A directory finds the bucket of a hash.
type directory[V comparable] struct {
	// buckets has 2^depth entries, several of which may be the same bucket.
	buckets []*deepBucket[V]
	depth   uint8
	// n is the number of records.
	n int
}

// A deepBucket is the bucket of the hashes whose lowest depth bits are the same.
type deepBucket[V comparable] struct {
	bucket[V]
	depth uint8
}

const (
	// splitFrom is the number of records at which a bucket is split. When no more than joinTo
	// records are left in all, they move into one bucket.
	splitFrom = 512
	joinTo    = 128
	// mostDepth bounds the directory. Records whose hashes have more bits in common share a bucket
	// of any size. The seeds of the hashes make it impossible to choose such hashes.
	mostDepth = 12
)

// Len returns the number of records.
func (t *HashTable[V]) Len() int {
	if t.many == nil {
		return t.one.n
	}
	return t.many.n
}

// place returns the index of the bucket of a hash.
func (d *directory[V]) place(hash uint32) uint32 { return hash & (1<<d.depth - 1) }

// bucket returns the bucket where a hash belongs.
func (t *HashTable[V]) bucket(hash uint32) *bucket[V] {
	if t.many == nil {
		return &t.one
	}
	return &t.many.buckets[t.many.place(hash)].bucket
}

// Find returns the record with this hash for which is returns true, or zero.
func (t *HashTable[V]) Find(hash uint32, is func(id V) bool) V {
	return t.bucket(hash).find(hash, is)
}

// Put adds a record that is not in the table.
func (t *HashTable[V]) Put(hash uint32, id V) {
	for t.bucket(hash).n >= splitFrom && t.split(hash) {
	}
	t.bucket(hash).put(hash, id)
	if t.many != nil {
		t.many.n++
	}
}

// Remove removes a record that is in the table.
func (t *HashTable[V]) Remove(hash uint32, id V) {
	t.bucket(hash).remove(hash, id)
	if t.many == nil {
		return
	}
	if t.many.n--; t.many.n <= joinTo {
		t.join()
	}
}

// Renumber replaces a record that is in the table by another with the same hash.
func (t *HashTable[V]) Renumber(hash uint32, from, to V) {
	x := t.bucket(hash)
	x.slots[x.place(hash, from)].id = to
}

// split splits the bucket where a hash belongs in two. It returns false if that would need a larger
// directory than is allowed.
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
	step := 1 << old.depth // between the entries that shared the old bucket
	for i := int(hash) & (step - 1); i < len(d.buckets); i += step {
		d.buckets[i] = two[i>>old.depth&1]
	}
	return true
}

// join moves all records into one bucket.
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

// each calls fn for every bucket until it returns false.
func (d *directory[V]) each(fn func(*deepBucket[V]) bool) {
	for i, s := range d.buckets {
		// Later entries repeat the bucket of an earlier one.
		if i < 1<<s.depth && !fn(s) {
			return
		}
	}
}

// Each calls fn for every record, in any order, until it returns false.
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

// Check returns an error unless every record is in the bucket of its hash.
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

// Room returns the number of records that there is memory for.
func (t *HashTable[V]) Room() int {
	n := len(t.one.slots)
	if t.many != nil {
		for s := range t.many.each {
			n += len(s.slots)
		}
	}
	return n
}
