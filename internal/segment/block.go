package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"

	"github.com/sgkandale/sharelock/internal/intconv"
)

// MaxPayload is the largest number of bytes in a block.
const MaxPayload = 1 << 20

// headerBytes is the size of an encoded header, without the filter:
//
//	0  CRC-32C of the rest of the header and the filter
//	4  CRC-32C of the payload
//	8  length of the payload
//	12 length of the filter
//	14 flags
//	15 version of the format
//	16 First
//	24 Last
const headerBytes = 32

// version is that of the format of blocks.
const version = 1

// flagMarked is set in blocks with Marked.
const flagMarked = 1

// ErrDamaged means that a block is not what was written.
var ErrDamaged = errors.New("damaged block")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Block is the unit that is appended.
type Block struct {
	// Payload is at most MaxPayload bytes.
	Payload []byte
	// Hashes are those by which the block can be found. A hash that occurs several times need not be
	// repeated.
	Hashes []uint64
	// Marked blocks can be found without a hash.
	Marked bool
	// First and Last are the times of the first and the last content, in any unit that grows.
	First, Last int64
}

// A header describes a block without its payload.
type header struct {
	filter      filter
	sum         uint32
	size        int
	marked      bool
	first, last int64
}

// bytes returns the size of the whole block.
func (h *header) bytes() int64 { return int64(headerBytes + len(h.filter) + h.size) }

// newHeader returns the header of a block.
func newHeader(bl *Block) header {
	return header{
		filter: newFilter(bl.Hashes), sum: crc32.Checksum(bl.Payload, castagnoli), size: len(bl.Payload),
		marked: bl.Marked, first: bl.First, last: bl.Last,
	}
}

// append appends the encoded block with this header to b.
func (h *header) append(b, payload []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, headerBytes)...)
	b = append(b, h.filter...)
	head := b[at:]
	binary.LittleEndian.PutUint32(head[4:], h.sum)
	binary.LittleEndian.PutUint32(head[8:], intconv.Uint32(h.size))
	binary.LittleEndian.PutUint16(head[12:], uint16(len(h.filter)&math.MaxUint16))
	if h.marked {
		head[14] = flagMarked
	}
	head[15] = version
	binary.LittleEndian.PutUint64(head[16:], intconv.Bits(h.first))
	binary.LittleEndian.PutUint64(head[24:], intconv.Bits(h.last))
	binary.LittleEndian.PutUint32(head, crc32.Checksum(head[4:], castagnoli))
	return append(b, payload...)
}

// filterBytes returns the length of the filter behind the fixed part of a header. It fails if that is
// not the beginning of a block.
func filterBytes(fixed []byte) (int, error) {
	n := int(binary.LittleEndian.Uint16(fixed[12:]))
	if fixed[15] != version || n > maxFilter || binary.LittleEndian.Uint32(fixed[8:]) > MaxPayload {
		return 0, ErrDamaged
	}
	return n, nil
}

// decodeHeader decodes a header with its filter, which it keeps.
func decodeHeader(b []byte) (header, error) {
	if binary.LittleEndian.Uint32(b) != crc32.Checksum(b[4:], castagnoli) {
		return header{}, ErrDamaged
	}
	return header{
		filter: b[headerBytes:], sum: binary.LittleEndian.Uint32(b[4:]), size: int(binary.LittleEndian.Uint32(b[8:])),
		marked: b[14]&flagMarked != 0,
		first:  intconv.Signed(binary.LittleEndian.Uint64(b[16:])), last: intconv.Signed(binary.LittleEndian.Uint64(b[24:])),
	}, nil
}

// check returns an error unless the payload is that of the block.
func (h *header) check(payload []byte) error {
	if crc32.Checksum(payload, castagnoli) != h.sum {
		return ErrDamaged
	}
	return nil
}
