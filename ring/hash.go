package ring

import (
	"encoding/binary"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// This file is frozen: it is the part of [Placement] 1 that turns keys, members
// and partitions into numbers. All of it is XXH64 with seed 0. Clients that
// route by themselves use PartitionOf; the vectors are in testdata.

const (
	// pointsPerMember is how often a member stands on the circle. With 20, the
	// library's default, some members would own twice as much as others.
	pointsPerMember = 100
	// maxLoad is the most that a member owns, as a multiple of the average.
	maxLoad = 1.25
)

// PartitionOf gives the partition of a key: the hash of its bytes modulo the
// number of partitions, which must not be 0. It does not allocate.
func PartitionOf(key string, partitions uint32) uint32 {
	return uint32(xxhash.Sum64String(key) % uint64(partitions))
}

// hasher is the hash as the library wants it.
type hasher struct{}

func (hasher) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }

// pointHash places the i-th point of a member on the circle, from "i:id" as the
// library does. It uses buf as scratch space and returns it for the next call.
func pointHash(buf []byte, id string, i int) (uint64, []byte) {
	buf = strconv.AppendInt(buf[:0], int64(i), 10)
	buf = append(buf, ':')
	buf = append(buf, id...)
	return xxhash.Sum64(buf), buf
}

// startHash is where the walk of a partition begins on the circle.
func startHash(p uint32) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(p))
	return xxhash.Sum64(b[:])
}

// memberHash orders the members for the later backups of large meshes.
func memberHash(id string) uint64 { return xxhash.Sum64String(id) }
