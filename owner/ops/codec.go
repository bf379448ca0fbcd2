package ops

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
)

// MaxSpan bounds every duration that a machine accepts, so that no sum of them overflows. It is far
// above any limit of the configuration.
const MaxSpan = 365 * 24 * time.Hour

const _ = uint64(MaxSpan - sharelock.MostMaxHold - sharelock.MostMaxHold/10 - 1) // fits stretched

// A machine accepts exactly what copies and ops may have, so that whatever can be decided can be
// copied. Only the length of text is checked: that it is UTF-8 does not matter here.

// ValidKey reports whether a key may be carried.
func ValidKey(s string) bool { return s != "" && len(s) <= sharelock.MaxKeyBytes }

// ValidClient reports whether a client id may be carried.
func ValidClient(s string) bool { return s != "" && len(s) <= sharelock.MaxClientIDBytes }

// ValidRequestID reports whether a request id may be carried.
func ValidRequestID(s string) bool { return s != "" && len(s) <= sharelock.MaxRequestIDBytes }

// ValidPrincipal reports whether the name of a principal may be carried; empty is none.
func ValidPrincipal(s string) bool { return len(s) <= sharelock.MaxPrincipalBytes }

// ValidTTL reports whether a TTL may be carried.
func ValidTTL(d time.Duration) bool {
	return d > 0 && d <= MaxSpan
}

// ValidMaxHold reports whether a bound of a hold may be carried; zero is none.
func ValidMaxHold(d time.Duration) bool {
	return d >= 0 && d <= sharelock.MostMaxHold
}

// ValidToken reports whether a token may be carried.
func ValidToken(t sharelock.Token) bool { return t > 0 && t <= math.MaxInt64 }

// ValidFamily reports whether mode and slots fit. A semaphore has no shared holders.
func ValidFamily(mode sharelock.Mode, slots uint32) bool {
	if slots == 0 {
		return mode <= sharelock.Shared
	}
	return mode == sharelock.Exclusive && slots > 1 && slots <= sharelock.MaxSlots
}

// ValidMetadata reports whether metadata may be carried.
func ValidMetadata(m map[string]string) bool {
	if len(m) > sharelock.MaxMetadataPairs {
		return false
	}
	size := 0
	for k, v := range m {
		size += len(k) + len(v)
	}
	return size <= sharelock.MaxMetadataBytes
}

// Bit returns mask if on is set, otherwise 0.
func Bit(mask byte, on bool) byte {
	if on {
		return mask
	}
	return 0
}

// An Encoder appends to Buf.
type Encoder struct{ Buf []byte }

// Byte appends a byte.
func (e *Encoder) Byte(v byte) { e.Buf = append(e.Buf, v) }

// Number appends a number of any size.
func (e *Encoder) Number(v uint64) { e.Buf = binary.AppendUvarint(e.Buf, v) }

// Duration appends a duration, which is not negative.
func (e *Encoder) Duration(d time.Duration) { e.Number(intconv.Bits(d)) }

// Text appends a text with its length.
func (e *Encoder) Text(s string) {
	e.Number(uint64(len(s)))
	e.Buf = append(e.Buf, s...)
}

// Bytes appends bytes with their length.
func (e *Encoder) Bytes(b []byte) {
	e.Number(uint64(len(b)))
	e.Buf = append(e.Buf, b...)
}

// Metadata appends the pairs in the order of their names, so that equal copies have equal
// encodings.
func (e *Encoder) Metadata(m map[string]string) {
	e.Number(uint64(len(m)))
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
		e.Text(k)
		e.Text(m[k])
	}
}

// A Decoder takes values from the front of Rest. After the first failure all values are zero.
type Decoder struct {
	Rest   []byte
	Failed bool
	// shared is the memory of the texts to come, up to where left bytes of Rest are left; see share.
	shared string
	left   int
}

// Fail makes the decoder fail.
func (d *Decoder) Fail() {
	d.Rest, d.Failed = nil, true
}

// Byte takes a byte.
func (d *Decoder) Byte() byte {
	if len(d.Rest) == 0 {
		d.Fail()
		return 0
	}
	v := d.Rest[0]
	d.Rest = d.Rest[1:]
	return v
}

// Bytes16 takes 16 bytes.
func (d *Decoder) Bytes16() (v [16]byte) {
	if len(d.Rest) < len(v) {
		d.Fail()
		return v
	}
	d.Rest = d.Rest[copy(v[:], d.Rest):]
	return v
}

// Number takes a number of any size.
func (d *Decoder) Number() uint64 {
	v, n := binary.Uvarint(d.Rest)
	if n <= 0 {
		d.Fail()
		return 0
	}
	d.Rest = d.Rest[n:]
	return v
}

// Number32 takes a number of at most 32 bits.
func (d *Decoder) Number32() uint32 {
	v := d.Number()
	if v > math.MaxUint32 {
		d.Fail()
		return 0
	}
	return uint32(v)
}

// Duration takes a duration from 0 to MaxSpan.
func (d *Decoder) Duration() time.Duration {
	v := d.Number()
	if v > uint64(MaxSpan) {
		d.Fail()
		return 0
	}
	return time.Duration(v)
}

// Text takes a text.
func (d *Decoder) Text() string {
	n := d.Number()
	if n > uint64(len(d.Rest)) {
		d.Fail()
		return ""
	}
	b := d.Rest[:n]
	d.Rest = d.Rest[n:]
	if end := len(d.shared) - (len(d.Rest) - d.left); d.shared != "" && end <= len(d.shared) {
		return d.shared[end-len(b) : end]
	}
	return string(b)
}

// share makes the next n texts share the memory of one string. They must be kept or forgotten together.
func (d *Decoder) share(n int) {
	ahead := *d
	for range n {
		ahead.skip()
	}
	if !ahead.Failed {
		d.left = len(ahead.Rest)
		d.shared = string(d.Rest[:len(d.Rest)-d.left])
	}
}

// skip passes over a text.
func (d *Decoder) skip() {
	n := d.Number()
	if n > uint64(len(d.Rest)) {
		d.Fail()
		return
	}
	d.Rest = d.Rest[n:]
}

// Metadata takes the pairs of metadata. It returns nil if there are none.
func (d *Decoder) Metadata() map[string]string {
	n := d.Number()
	if n > sharelock.MaxMetadataPairs {
		d.Fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	// All names and values share the memory of one string, since copies have many of them.
	ahead := *d
	for range 2 * n {
		ahead.skip()
	}
	if ahead.Failed {
		d.Fail()
		return nil
	}
	size := len(d.Rest)
	all := string(d.Rest[:size-len(ahead.Rest)])
	part := func() string {
		n := intconv.Int(d.Number())
		at := size - len(d.Rest)
		d.Rest = d.Rest[n:]
		return all[at : at+n]
	}
	m := make(map[string]string, n)
	last := ""
	for i := range n {
		k := part()
		if i > 0 && k <= last {
			d.Fail()
			return nil
		}
		m[k], last = part(), k
	}
	if !ValidMetadata(m) {
		d.Fail()
		return nil
	}
	return m
}

// MetadataSize returns about how many bytes metadata takes in a message.
func MetadataSize(m map[string]string) int {
	size := 0
	for k, v := range m {
		size += len(k) + len(v) + 8
	}
	return size
}
