// Package intconv converts integers to smaller types, and between signed and unsigned ones, so that no value
// silently becomes another one. All its functions are inlined.
package intconv

import "math"

// Integer is a type whose values Uint8 and Uint32 take.
type Integer interface {
	~int | ~int32 | ~int64 | ~uint16 | ~uint32 | ~uint64
}

// Uint8 returns n, or the nearest value that fits: 0 for a negative number, 255 for one above it. So a kind
// from the network that is too large becomes one that does not exist, and not a different one.
func Uint8[T Integer](n T) uint8 {
	return uint8(min(uint64(max(n, 0)), math.MaxUint8))
}

// Uint32 returns n, or the nearest value that fits: 0 for a negative number, and math.MaxUint32 for one
// above it.
func Uint32[T Integer](n T) uint32 {
	return uint32(min(uint64(max(n, 0)), math.MaxUint32))
}

// Int returns n, or math.MaxInt if it is above that.
func Int(n uint64) int {
	return int(min(n, math.MaxInt))
}

// Bits returns the 64 bits of n in two's complement, as formats store a signed number. [Signed] is its inverse.
func Bits[T ~int64](n T) uint64 {
	return uint64(n) //nolint:gosec // all 64 bits are kept
}

// Signed returns the number whose two's complement has these bits. It may be negative: the caller checks its
// range if the bits come from the network or a file.
func Signed(bits uint64) int64 {
	return int64(bits) //nolint:gosec // all 64 bits are kept
}
