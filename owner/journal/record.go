package journal

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/owner/ops"
)

// A kind is the kind of a record. The numbers are on disk: append only.
type kind byte

const (
	// applied: an op was applied to the copy.
	applied kind = iota + 1
	// follows: the copy became the base of an epoch; seq is the base's sequence number.
	follows
	// stopped: the copy no longer follows the epoch; seq is the sequence number of its last op.
	stopped
	// resumes: records were lost; after seq they are complete again.
	resumes
	// stands: the place of the copy when the segment began; seq is the sequence number of the last
	// op before.
	stands
	// gap: records of any partition may have been lost.
	gap
	// torn: records of this partition were lost, and the copy does not follow an epoch.
	torn

	lastKind = torn
)

// Flags of a record.
const (
	flagOwner = 1 << iota
	flagLost
)

// A record is one record of a journal. Records of the kinds follows, resumes and stands have a
// base; those of the kind applied have an op.
type record struct {
	kind      kind
	owner     bool
	lost      bool
	partition uint32
	epoch     uint32
	seq       uint64
	// at is the time by this member's wall clock, in microseconds since 1970.
	at   int64
	base uint64
	// from belongs to base, see [Base.From].
	from uint32
	// op is an encoded op.
	op []byte
}

// errMalformed means that bytes are not records.
var errMalformed = errors.New("malformed record")

// headBytes is the size of the head of an encoded record, which precedes the op or the base:
//
//	0  the kind, and the flags
//	1  length of what follows the head
//	3  partition
//	7  epoch
//	11 seq
//	19 at
//
// The fields have fixed sizes, because a member encodes and decodes a record for every op.
const headBytes = 27

// baseBytes is the size of what follows the head of a record without an op: base and from.
const baseBytes = 12

// maxBody is the maximum number of bytes after the head, and maxRecord that of a record.
const (
	maxBody   = math.MaxUint16
	maxRecord = headBytes + maxBody
)

// append appends an encoded record to b.
func (r *record) append(b []byte) []byte {
	if r.kind == applied {
		return append(r.appendHead(b, len(r.op)), r.op...)
	}
	b = binary.LittleEndian.AppendUint64(r.appendHead(b, baseBytes), r.base)
	return binary.LittleEndian.AppendUint32(b, r.from)
}

// appendHead appends the head of a record that n bytes follow.
func (r *record) appendHead(b []byte, n int) []byte {
	var head [headBytes]byte
	head[0] = byte(r.kind)
	if r.owner {
		head[0] |= flagOwner << 4
	}
	if r.lost {
		head[0] |= flagLost << 4
	}
	binary.LittleEndian.PutUint16(head[1:], uint16(n&maxBody))
	binary.LittleEndian.PutUint32(head[3:], r.partition)
	binary.LittleEndian.PutUint32(head[7:], r.epoch)
	binary.LittleEndian.PutUint64(head[11:], r.seq)
	binary.LittleEndian.PutUint64(head[19:], intconv.Bits(r.at))
	return append(b, head[:]...)
}

// appendOp appends an applied record with an op that is encoded in place.
func appendOp(b []byte, r *record, op *ops.Op) []byte {
	start := len(b)
	b = op.Append(r.appendHead(b, 0))
	binary.LittleEndian.PutUint16(b[start+1:], uint16((len(b)-start-headBytes)&maxBody))
	return b
}

// next decodes the first record of b, and returns the rest of b. The record refers to b.
func (r *record) next(b []byte) (rest []byte, err error) {
	if len(b) < headBytes {
		return nil, errMalformed
	}
	body := b[headBytes:]
	n := int(binary.LittleEndian.Uint16(b[1:]))
	if len(body) < n {
		return nil, errMalformed
	}
	body, rest = body[:n], body[n:]
	*r = record{
		kind: kind(b[0] & 15), owner: b[0]>>4&flagOwner != 0, lost: b[0]>>4&flagLost != 0,
		partition: binary.LittleEndian.Uint32(b[3:]), epoch: binary.LittleEndian.Uint32(b[7:]),
		seq: binary.LittleEndian.Uint64(b[11:]), at: intconv.Signed(binary.LittleEndian.Uint64(b[19:])),
	}
	switch {
	case r.kind == 0 || r.kind > lastKind || r.at < 0:
		return nil, errMalformed
	case r.kind == applied:
		r.op = body
	case len(body) != baseBytes:
		return nil, errMalformed
	default:
		r.base, r.from = binary.LittleEndian.Uint64(body), binary.LittleEndian.Uint32(body[8:])
	}
	return rest, nil
}

// keyOf returns the key of an encoded op, or nil if op is malformed.
func keyOf(op []byte) []byte {
	if len(op) < 3 {
		return nil
	}
	n, used := binary.Uvarint(op[2:])
	if used <= 0 || n > uint64(max(len(op)-2-used, 0)) {
		return nil
	}
	return op[2+used : 2+used+intconv.Int(n)]
}

// wanted reports whether ops of a kind are recorded.
func wanted(k ops.Kind) bool {
	return k == ops.Grant || k == ops.Enqueue || k == ops.Release || k == ops.Dequeue
}
