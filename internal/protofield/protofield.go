// Package protofield reads and writes messages of Protocol Buffers field by field. It is for messages
// that are so frequent that an object and reflection for each would be most of their cost. Tests of the
// packages that use it compare what it writes and reads with the generated code.
package protofield

import (
	"errors"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sgkandale/sharelock/internal/intconv"
)

// ErrMalformed is the error for bytes that are no message.
var ErrMalformed = errors.New("malformed message")

// Other is the type of a field that is neither a number nor bytes.
const Other protowire.Type = -1

// Field is one field of a message.
type Field struct {
	Num protowire.Number
	// Typ is protowire.VarintType, with V; protowire.BytesType, with B, which refers to
	// the message; or Other, with neither.
	Typ protowire.Type
	V   uint64
	B   []byte
}

// Uint8 returns the number of a field, or 255 if it is larger. No kind or mode has that number, so an
// unknown one does not become a different one.
func (f Field) Uint8() uint8 { return intconv.Uint8(f.V) }

// Uint32 returns the number of a field of type uint32, as generated code does: the lower 32 bits.
func (f Field) Uint32() uint32 { return uint32(f.V & math.MaxUint32) }

// Int32 returns the number of a field of type int32 or an enum, as generated code does.
func (f Field) Int32() int32 { return int32(f.Uint32()) } //nolint:gosec // two's complement of 32 bits

// Int64 returns the number of a field of type int64. It may be negative.
func (f Field) Int64() int64 { return intconv.Signed(f.V) }

// Nanoseconds returns the duration of a field of type int64. It may be negative: the caller checks its range.
func (f Field) Nanoseconds() time.Duration { return time.Duration(intconv.Signed(f.V)) }

// Next takes the next field from a message, which must not be empty.
func Next(rest *[]byte) (Field, error) {
	// Nearly all fields have a small field number, and hold a small number or a few bytes.
	if b := *rest; len(b) >= 2 && b[0] < 1<<7 && b[0] >= 1<<3 && b[1] < 1<<7 {
		f := Field{Num: protowire.Number(b[0] >> 3), Typ: protowire.Type(b[0] & 7)}
		switch {
		case f.Typ == protowire.VarintType:
			f.V = uint64(b[1])
			*rest = b[2:]
			return f, nil
		case f.Typ == protowire.BytesType && int(b[1]) <= len(b)-2:
			end := 2 + int(b[1])
			f.B = b[2:end]
			*rest = b[end:]
			return f, nil
		}
	}
	return next(rest)
}

// next is Next for fields of any size.
func next(rest *[]byte) (Field, error) {
	num, typ, n := protowire.ConsumeTag(*rest)
	if n < 0 {
		return Field{}, ErrMalformed
	}
	f := Field{Num: num, Typ: typ}
	b := (*rest)[n:]
	switch typ {
	case protowire.VarintType:
		f.V, n = protowire.ConsumeVarint(b)
	case protowire.BytesType:
		f.B, n = protowire.ConsumeBytes(b)
	default:
		f.Typ = Other
		n = protowire.ConsumeFieldValue(num, typ, b)
	}
	if n < 0 {
		return Field{}, ErrMalformed
	}
	*rest = b[n:]
	return f, nil
}

// Open begins a nested message: it appends the tag, and room for a length of one byte. Shut sets
// the length, and makes more room if the length needs it.
func Open(b []byte, num protowire.Number) (rest []byte, at int) {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return append(b, 0), len(b)
}

// Shut ends a nested message that Open began at at.
func Shut(b []byte, at int) []byte {
	n := len(b) - at - 1
	if n < 1<<7 {
		b[at] = byte(n & 0x7f)
		return b
	}
	more := protowire.SizeVarint(uint64(n)) - 1
	b = append(b, make([]byte, more)...)
	copy(b[at+1+more:], b[at+1:])
	protowire.AppendVarint(b[:at], uint64(n))
	return b
}

// AppendUint appends a number, if it is not 0.
func AppendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

// AppendInt appends a number of type int64, if it is not 0.
func AppendInt[T ~int64](b []byte, num protowire.Number, v T) []byte {
	return AppendUint(b, num, intconv.Bits(v))
}

// AppendString appends a string, if it is not empty.
func AppendString(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendString(b, s)
}
