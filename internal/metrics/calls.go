package metrics

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// OK is the code of a call that was answered without an error.
const OK = "OK"

// Calls counts the calls that a node has answered, and how long they took: by door (the protocol by
// which they came), by method and by code. Create it with [NewCalls]. Safe for concurrent use.
type Calls struct {
	mu      sync.Mutex
	methods []*Method // guarded by mu
}

// NewCalls returns an empty count.
func NewCalls() *Calls { return &Calls{} }

// A Method counts the calls of one method that came by one door.
type Method struct {
	Door, Name string

	calls *Calls
	// ok is the number of calls without an error, failed those of the others by code. Guarded by
	// calls.mu, like took.
	ok     uint64
	failed map[string]uint64
	took   Histogram
}

// Method returns the counter of a method, the same for the same names. If c is nil, so is the
// counter, which then counts nothing.
func (c *Calls) Method(door, name string) *Method {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.methods {
		if m.Door == door && m.Name == name {
			return m
		}
	}
	m := &Method{Door: door, Name: name, calls: c}
	c.methods = append(c.methods, m)
	return m
}

// Record counts one call. code must be one of a few fixed ones.
func (m *Method) Record(code string, took time.Duration) {
	if m == nil {
		return
	}
	m.calls.mu.Lock()
	defer m.calls.mu.Unlock()
	m.record(code, took)
}

func (m *Method) record(code string, took time.Duration) {
	if code == OK {
		m.ok++
	} else {
		if m.failed == nil {
			m.failed = map[string]uint64{}
		}
		m.failed[code]++
	}
	m.took.Observe(took)
}

// Each calls fn for each method with calls, ordered by name, with the number of calls by code and
// how long they took. fn may keep its arguments. Other calls may be counted meanwhile.
func (c *Calls) Each(fn func(door, method string, codes map[string]uint64, took *Histogram)) {
	for _, m := range c.copied() {
		fn(m.door, m.method, m.codes, &m.took)
	}
}

// A methodCopy is what was counted of one method.
type methodCopy struct {
	door, method string
	codes        map[string]uint64
	took         Histogram
}

// copied returns a copy of the counts. A goroutine that counts a call may hold locks for which others
// wait, so mu is not held for longer than the copy takes.
func (c *Calls) copied() (list []methodCopy) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortFunc(c.methods, func(a, b *Method) int {
		return cmp.Or(cmp.Compare(a.Door, b.Door), cmp.Compare(a.Name, b.Name))
	})
	for _, m := range c.methods {
		if m.ok == 0 && len(m.failed) == 0 {
			continue
		}
		codes := map[string]uint64{}
		if m.ok > 0 {
			codes[OK] = m.ok
		}
		maps.Copy(codes, m.failed)
		one := methodCopy{door: m.Door, method: m.Name, codes: codes}
		one.took.Add(&m.took)
		list = append(list, one)
	}
	return list
}

// A Batch keeps calls until there are some, so that counting one takes no lock and shares no memory
// with other processors. Its owner guards it, and flushes it at the end. The zero value is empty.
type Batch struct {
	n     int
	calls [8]batched
}

type batched struct {
	method *Method
	code   string
	took   time.Duration
}

// Record counts one call.
func (b *Batch) Record(m *Method, code string, took time.Duration) {
	if m == nil {
		return
	}
	b.calls[b.n] = batched{m, code, took}
	if b.n++; b.n == len(b.calls) {
		b.Flush()
	}
}

// Flush counts what the batch has kept. All of it must be of the same Calls.
func (b *Batch) Flush() {
	if b.n == 0 {
		return
	}
	mu := &b.calls[0].method.calls.mu
	mu.Lock()
	for i := range b.calls[:b.n] {
		c := &b.calls[i]
		c.method.record(c.code, c.took)
	}
	mu.Unlock()
	b.n = 0
}
