package intconv

import (
	"math"
	"testing"
	"time"
)

// A value that does not fit becomes the nearest one that does, and never wraps around.
func TestNearest(t *testing.T) {
	for _, c := range []struct{ got, want uint64 }{
		{uint64(Uint8(7)), 7},
		{uint64(Uint8(math.MaxUint8)), math.MaxUint8},
		{uint64(Uint8(256)), math.MaxUint8},
		{uint64(Uint8(uint64(math.MaxUint64))), math.MaxUint8},
		{uint64(Uint8(-1)), 0},
		{uint64(Uint8(int32(math.MinInt32))), 0},
		{uint64(Uint32(7)), 7},
		{uint64(Uint32(uint64(math.MaxUint32))), math.MaxUint32},
		{uint64(Uint32(uint64(math.MaxUint32 + 1))), math.MaxUint32},
		{uint64(Uint32(int64(math.MaxInt64))), math.MaxUint32},
		{uint64(Uint32(int64(math.MinInt64))), 0},
		{uint64(Int(7)), 7},
		{uint64(Int(math.MaxUint64)), math.MaxInt},
	} {
		if c.got != c.want {
			t.Errorf("got %d, want %d", c.got, c.want)
		}
	}
}

// The bits of a number are those of its varint in Protocol Buffers, and Signed is their inverse.
func TestBits(t *testing.T) {
	for _, n := range []int64{0, 1, -1, math.MaxInt64, math.MinInt64} {
		if got := Signed(Bits(n)); got != n {
			t.Errorf("%d became %d", n, got)
		}
	}
	if got := Bits(-time.Nanosecond); got != math.MaxUint64 {
		t.Errorf("the bits of -1 are %x", got)
	}
}
