package journal

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/owner/ops"
)

// A kind is what a record is. The numbers are on disk: append only.
type kind byte

const (
	// applied: an op was applied to the copy.
	applied kind = iota + 1
	// follows: the copy became the base of an epoch; seq is that of the base.
	follows
	// stopped: the copy does not follow the epoch any more; seq is that of its last op.
	stopped
	// resumes: records were lost; from seq on they are there again.
	resumes
	// stands: where the copy stood when the segment began; seq is that of the last op before.
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

// A record is one record of a journal. A follows, a resumes and a stands have a base; an applied has an
// op.
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
	// op is an encoded op.
	op []byte
}

// errMalformed means that bytes are not records.
var errMalformed = errors.New("malformed record")

// append appends an encoded record to b. Its first byte is the kind and the flags, and the length of
// the rest follows.
func (r *record) append(b []byte) []byte {
	head := byte(r.kind)
	if r.owner {
		head |= flagOwner << 4
	}
	if r.lost {
		head |= flagLost << 4
	}
	b = append(b, head)
	at := len(b)
	b = append(b, 0, 0)
	b = binary.AppendUvarint(b, uint64(r.partition))
	b = binary.AppendUvarint(b, uint64(r.epoch))
	b = binary.AppendUvarint(b, r.seq)
	b = binary.AppendUvarint(b, intconv.Bits(r.at))
	if r.kind == applied {
		b = append(b, r.op...)
	} else {
		b = binary.AppendUvarint(b, r.base)
	}
	binary.LittleEndian.PutUint16(b[at:], uint16((len(b)-at-2)&math.MaxUint16))
	return b
}

// appendOp appends an applied record with an op that is encoded in place.
func appendOp(b []byte, r *record, op *ops.Op) []byte {
	start := len(b)
	b = r.append(b)
	b = op.Append(b)
	binary.LittleEndian.PutUint16(b[start+1:], uint16((len(b)-start-3)&math.MaxUint16))
	return b
}

// maxRecord is the largest number of bytes of a record.
const maxRecord = 3 + math.MaxUint16

// next decodes the record at the front of b, and returns the rest of b. It keeps b.
func (r *record) next(b []byte) (rest []byte, err error) {
	if len(b) < 3 {
		return nil, errMalformed
	}
	n := int(binary.LittleEndian.Uint16(b[1:]))
	if len(b) < 3+n {
		return nil, errMalformed
	}
	*r = record{kind: kind(b[0] & 15), owner: b[0]>>4&flagOwner != 0, lost: b[0]>>4&flagLost != 0}
	body, rest := b[3:3+n], b[3+n:]
	var partition, epoch, at uint64
	for _, v := range []*uint64{&partition, &epoch, &r.seq, &at} {
		if body, err = takeNumber(body, v); err != nil {
			return nil, err
		}
	}
	if r.kind == 0 || r.kind > lastKind || partition > math.MaxUint32 || epoch > math.MaxUint32 || at > math.MaxInt64 {
		return nil, errMalformed
	}
	r.partition, r.epoch, r.at = uint32(partition), uint32(epoch), int64(at)
	if r.kind == applied {
		r.op = body
		return rest, nil
	}
	if body, err = takeNumber(body, &r.base); err != nil || len(body) > 0 {
		return nil, errMalformed
	}
	return rest, nil
}

func takeNumber(b []byte, v *uint64) ([]byte, error) {
	x, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, errMalformed
	}
	*v = x
	return b[n:], nil
}

// keyOf returns the key of an encoded op; it is empty if that is none.
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

// wanted reports whether an op is one that is recorded.
func wanted(k ops.Kind) bool {
	return k == ops.Grant || k == ops.Enqueue || k == ops.Release || k == ops.Dequeue
}
