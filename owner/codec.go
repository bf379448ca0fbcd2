package owner

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
)

// maxSpan bounds every duration that a machine takes in, so that no sum of them
// overflows. It is far above any limit of the configuration.
const maxSpan = 365 * 24 * time.Hour

const _ = uint64(maxSpan - sharelock.MostMaxHold - sharelock.MostMaxHold/10 - 1) // fits stretched

// What a machine accepts is what a copy and an op may carry, so that whatever can
// be decided can be copied. Text is checked for its length only: that it is UTF-8
// matters to people, not here.

func validKey(s string) bool       { return s != "" && len(s) <= sharelock.MaxKeyBytes }
func validClient(s string) bool    { return s != "" && len(s) <= sharelock.MaxClientIDBytes }
func validRequestID(s string) bool { return s != "" && len(s) <= sharelock.MaxRequestIDBytes }
func validTTL(d time.Duration) bool {
	return d > 0 && d <= maxSpan
}

func validMaxHold(d time.Duration) bool {
	return d >= 0 && d <= sharelock.MostMaxHold
}
func validToken(t sharelock.Token) bool { return t > 0 && t <= math.MaxInt64 }

// validFamily checks mode and slots; a semaphore has no shared holders.
func validFamily(mode sharelock.Mode, slots uint32) bool {
	if slots == 0 {
		return mode <= sharelock.Shared
	}
	return mode == sharelock.Exclusive && slots > 1 && slots <= sharelock.MaxSlots
}

func validMetadata(m map[string]string) bool {
	if len(m) > sharelock.MaxMetadataPairs {
		return false
	}
	size := 0
	for k, v := range m {
		size += len(k) + len(v)
	}
	return size <= sharelock.MaxMetadataBytes
}

// bit is mask or 0.
func bit(mask byte, on bool) byte {
	if on {
		return mask
	}
	return 0
}

// encoder appends to b.
type encoder struct{ b []byte }

func (e *encoder) byte(v byte)     { e.b = append(e.b, v) }
func (e *encoder) number(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) text(s string) {
	e.number(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) bytes(b []byte) {
	e.number(uint64(len(b)))
	e.b = append(e.b, b...)
}

// metadata writes the pairs in the order of their names, so that equal copies
// have equal encodings.
func (e *encoder) metadata(m map[string]string) {
	e.number(uint64(len(m)))
	if len(m) == 0 {
		return
	}
	var room [sharelock.MaxMetadataPairs]string
	names := room[:0]
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		e.text(k)
		e.text(m[k])
	}
}

// decoder takes from the front of b. After the first failure everything is zero.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) fail() {
	d.b, d.failed = nil, true
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) digest() (v digest) {
	if len(d.b) < len(v) {
		d.fail()
		return v
	}
	d.b = d.b[copy(v[:], d.b):]
	return v
}

func (d *decoder) number() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) number32() uint32 {
	v := d.number()
	if v > math.MaxUint32 {
		d.fail()
		return 0
	}
	return uint32(v)
}

// span is a duration from 0 to maxSpan.
func (d *decoder) span() time.Duration {
	v := d.number()
	if v > uint64(maxSpan) {
		d.fail()
		return 0
	}
	return time.Duration(v)
}

func (d *decoder) text() string {
	n := d.number()
	if n > uint64(len(d.b)) {
		d.fail()
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

// skip passes over a text.
func (d *decoder) skip() {
	n := d.number()
	if n > uint64(len(d.b)) {
		d.fail()
		return
	}
	d.b = d.b[n:]
}

// metadata reads pairs; no pairs are nil.
func (d *decoder) metadata() map[string]string {
	n := d.number()
	if n > sharelock.MaxMetadataPairs {
		d.fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	// All names and values are parts of one string: copies have many of them.
	ahead := *d
	for range 2 * n {
		ahead.skip()
	}
	if ahead.failed {
		d.fail()
		return nil
	}
	size := len(d.b)
	all := string(d.b[:size-len(ahead.b)])
	part := func() string {
		n := int(d.number())
		at := size - len(d.b)
		d.b = d.b[n:]
		return all[at : at+n]
	}
	m := make(map[string]string, n)
	last := ""
	for i := range n {
		k := part()
		if i > 0 && k <= last {
			d.fail()
			return nil
		}
		m[k], last = part(), k
	}
	if !validMetadata(m) {
		d.fail()
		return nil
	}
	return m
}
