package owner

// hashIndex finds the numbers of records by a hash: a table with open addressing,
// which has no pointer and gives its room back. The zero value is empty.
type hashIndex struct {
	// slots has at least one that is empty. A record is at the home of its hash or
	// behind it, and every slot in between is taken.
	slots []slot
	n     int
}

type slot struct {
	hash uint32
	// id is 0 in an empty slot.
	id uint32
}

// indexLeast is the smallest table.
const indexLeast = 8

// home is where a hash belongs in a table of this size: they have the same order.
func (x *hashIndex) home(hash uint32) int {
	return int(uint64(hash) * uint64(len(x.slots)) >> 32)
}

func (x *hashIndex) next(i int) int {
	if i++; i == len(x.slots) {
		return 0
	}
	return i
}

// find is the record with this hash that is the one, or 0.
func (x *hashIndex) find(hash uint32, is func(id uint32) bool) uint32 {
	if x.n == 0 {
		return 0
	}
	for i := x.home(hash); x.slots[i].id != 0; i = x.next(i) {
		if s := x.slots[i]; s.hash == hash && is(s.id) {
			return s.id
		}
	}
	return 0
}

// put enters a record that is not there.
func (x *hashIndex) put(hash, id uint32) {
	if x.n >= len(x.slots)*4/5 {
		x.resize(max(len(x.slots)*3/2, indexLeast))
	}
	x.enter(slot{hash, id})
	x.n++
}

func (x *hashIndex) enter(s slot) {
	i := x.home(s.hash)
	for x.slots[i].id != 0 {
		i = x.next(i)
	}
	x.slots[i] = s
}

// remove takes a record out that is there.
func (x *hashIndex) remove(hash, id uint32) {
	i := x.home(hash)
	for x.slots[i].id != id {
		i = x.next(i)
	}
	// Whoever is behind the hole moves into it, unless its home is behind the hole too.
	for j := x.next(i); x.slots[j].id != 0; j = x.next(j) {
		if home := x.home(x.slots[j].hash); x.between(home, i, j) {
			x.slots[i], i = x.slots[j], j
		}
	}
	x.slots[i] = slot{}
	x.n--
	if len(x.slots) >= leanFrom && x.n <= len(x.slots)/8 {
		x.resize(2*x.n + indexLeast)
	}
}

// between reports whether the hole lies on the way from home to i.
func (x *hashIndex) between(home, hole, i int) bool {
	if home <= i {
		return home <= hole && hole < i
	}
	return home <= hole || hole < i // the way goes round the end
}

func (x *hashIndex) resize(size int) {
	old := x.slots
	x.slots = make([]slot, size)
	for _, s := range old {
		if s.id != 0 {
			x.enter(s)
		}
	}
}

// each calls fn for every record, in any order, until it returns false, and reports
// whether it never did. fn may change the number.
func (x *hashIndex) each(fn func(*slot) bool) bool {
	for i := range x.slots {
		if s := &x.slots[i]; s.id != 0 && !fn(s) {
			return false
		}
	}
	return true
}
