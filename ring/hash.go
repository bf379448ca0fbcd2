package ring

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// This file is frozen: it is the part of [Placement] 1 that hashes keys, members and partitions.
// All hashes are XXH64 with seed 0. Clients that send calls directly to owners use PartitionOf;
// test vectors are in testdata.

const (
	// pointsPerMember is the number of points of a member on the circle. With 20, the library's
	// default, some members would own twice as much as others.
	pointsPerMember = 100
	// maxLoad is the maximum load of a member, as a multiple of the average.
	maxLoad = 1.25
)

// PartitionOf returns the partition of a key: the hash of its bytes modulo the number of
// partitions, which must not be 0. It does not allocate.
func PartitionOf(key string, partitions uint32) uint32 {
	return uint32(xxhash.Sum64String(key) % uint64(partitions) & math.MaxUint32)
}

// hasher implements the library's interface of a hash function.
type hasher struct{}

func (hasher) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }

// pointHash returns the i-th point of a member on the circle: the hash of "i:id", as in the
// library. It uses buf as scratch space and returns it for the next call.
func pointHash(buf []byte, id string, i int) (uint64, []byte) {
	buf = strconv.AppendInt(buf[:0], int64(i), 10)
	buf = append(buf, ':')
	buf = append(buf, id...)
	return xxhash.Sum64(buf), buf
}

// startHash returns the position on the circle at which the walk of a partition begins.
func startHash(p uint32) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(p))
	return xxhash.Sum64(b[:])
}

// memberHash returns the hash by which members are sorted for the further backups in large meshes.
func memberHash(id string) uint64 { return xxhash.Sum64String(id) }
