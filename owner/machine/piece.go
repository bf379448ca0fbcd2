package machine

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/owner/ops"
)

// A copy travels in pieces, each of which has some complete records. It has everything that ops
// have decided. The quarantine, finished ids, and holds with a longest time have the time that they
// have left. Records are in an order in which the machine finds them without looking at more
// records than the piece has. So the order may differ between machines with the same state; but the
// holds of a key are in the order of their tokens, and its waiters in that of the log.

// copyVersion, in the first record of a copy, is the release that introduced this form.
const copyVersion = 1

// The kinds of records.
const (
	recordBegin = iota + 1
	recordClaim
	recordFinished
	recordFence
	recordEnd
)

// Flags of a claim besides those of an op. flagSameKey: its key and slots are those of the record
// before; the first record of a piece never has it. flagWaits: it has no token.
// unknownFlag is the bit that is not used.
const (
	flagSameKey = ops.FlagWaited
	flagWaits   = ops.FlagRemember
	unknownFlag = ops.FlagMetadata
)

const (
	// StepEntries bounds how many entries one step touches.
	StepEntries = 1000
	// StepBytes bounds how many bytes one step touches.
	StepBytes = 64 << 10
	// maxRecord is more bytes than any record has.
	maxRecord = 4 << 10
	// pieceExtra is more bytes than the first and the last record of a copy have together.
	pieceExtra = 128

	_ = uint(maxRecord - 96 - sharelock.MaxKeyBytes - sharelock.MaxClientIDBytes - sharelock.MaxRequestIDBytes -
		sharelock.MaxPrincipalBytes - sharelock.MaxMetadataBytes - 6*sharelock.MaxMetadataPairs) // fits
)

// A position is where in a copy a piece begins.
type position struct {
	// phase is the kind of the next record.
	phase uint64
	// claim is the number of the claim to look at next. If that is the first claim of a contended
	// key, inside is the number of the key's claim that comes next; 0 is the first.
	claim, inside uint32
	// over is the number of the next finished id; 0 is the oldest.
	finished uint32
}

func (p position) append(b []byte) []byte {
	for _, n := range []uint64{p.phase, uint64(p.claim), uint64(p.inside), uint64(p.finished)} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// readPosition decodes a position. No bytes are the beginning.
func readPosition(b []byte) (position, error) {
	if len(b) == 0 {
		return position{phase: recordBegin}, nil
	}
	d := ops.Decoder{Rest: b}
	p := position{phase: d.Number(), claim: d.Number32(), inside: d.Number32(), finished: d.Number32()}
	if d.Failed || len(d.Rest) > 0 || p.phase < recordClaim || p.phase > recordEnd {
		return position{}, fmt.Errorf("%w: a position", ops.ErrMalformed)
	}
	return p, nil
}

// Piece appends to b the piece of the encoded copy that begins at the given position. It returns
// the position of the next piece, or last if there is none. The position of the first piece is
// empty. A piece has at most 64 KiB and 1,000 records.
//
// Between the first and the last piece the machine may forget finished ids, but must not be active
// or apply ops.
func (m *Machine) Piece(now time.Duration, at, b []byte) (piece, next []byte, last bool, err error) {
	pos, err := readPosition(at)
	if err != nil {
		return b, nil, false, err
	}
	if b == nil {
		b = make([]byte, 0, min(StepBytes, m.Bytes()+pieceExtra))
	}
	w := pieceWriter{m: m, now: now, pos: pos, e: ops.Encoder{Buf: b}, full: len(b) + StepBytes - maxRecord, left: StepEntries}
	defer func() {
		m.touched += StepEntries - w.left
		m.handled += len(w.e.Buf) - len(b)
	}()
	for w.more() {
		switch w.pos.phase {
		case recordBegin:
			w.begin()
		case recordClaim:
			err = w.claims()
		case recordFinished, recordFence:
			w.finished()
		case recordEnd:
			w.e.Byte(recordEnd)
			w.e.Number(uint64(max(m.keys.claims.Used(), 0)))
			return w.e.Buf, nil, true, nil
		}
		if err != nil {
			return b, nil, false, err
		}
	}
	return w.e.Buf, w.pos.append(nil), false, nil
}

// A pieceWriter writes one piece.
type pieceWriter struct {
	m   *Machine
	now time.Duration
	pos position
	e   ops.Encoder
	// full is the length from which there is no room for another record. left is how many records
	// may still be looked at.
	full, left int
	// contended is the key of the record before, if that was a claim of a contended key.
	contended *contendedKey
}

func (w *pieceWriter) more() bool { return w.left > 0 && len(w.e.Buf) < w.full }

func (w *pieceWriter) begin() {
	m := w.m
	w.e.Byte(recordBegin)
	w.e.Byte(copyVersion)
	w.e.Number(uint64(m.partition))
	w.e.Number(m.seq)
	w.e.Number(uint64(m.last))
	quarantine := m.Quarantined(w.now)
	if m.BeganLost() {
		quarantine = max(quarantine, 1) // even if it is over, so that the next copy knows
	}
	w.e.Duration(quarantine)
	w.pos = position{phase: recordClaim, claim: 1}
}

// claims writes claims in the order of their numbers. Those of a contended key come together, where
// the first of them is.
func (w *pieceWriter) claims() error {
	s := &w.m.keys
	w.pos.claim = max(w.pos.claim, 1)
	for ; w.more() && int(w.pos.claim) <= s.claims.Last(); w.pos.claim++ {
		w.left--
		c := s.claims.At(w.pos.claim)
		switch {
		case c.id == 0: // not in use
		case c.text != 0:
			w.contended = nil
			w.claim(c)
		case s.extra(c) == s.extra(c).contended.first():
			done, err := w.inside(s.extra(c).contended)
			if err != nil || !done {
				return err
			}
		}
	}
	if int(w.pos.claim) > s.claims.Last() {
		w.pos = position{phase: recordFinished}
	}
	return nil
}

// inside writes the claims of a contended key. It returns false if there was not room for all.
func (w *pieceWriter) inside(ck *contendedKey) (done bool, err error) {
	s := &w.m.keys
	x := ck.first()
	if id := w.pos.inside; id != 0 {
		if int(id) > s.claims.Last() || s.claims.At(id).id == 0 || s.extra(s.claims.At(id)) == nil || s.extra(s.claims.At(id)).contended != ck {
			return false, fmt.Errorf("%w: a position that is not in the key", ops.ErrMalformed)
		}
		x = s.extra(s.claims.At(id))
	}
	for ; x != nil; x = ck.behind(x) {
		if !w.more() {
			w.pos.inside = x.claim.id
			return false, nil
		}
		w.left--
		w.claim(x.claim)
		w.contended = ck
	}
	w.pos.inside = 0
	return true, nil
}

// claim writes one claim.
func (w *pieceWriter) claim(c *claim) {
	s, e := &w.m.keys, &w.e
	k := s.of(c)
	same := k.contended != nil && k.contended == w.contended
	e.Byte(recordClaim)
	e.Byte(ops.Bit(ops.FlagShared, c.is(isShared)) | ops.Bit(ops.FlagOwnID, c.is(isOwnID)) | ops.Bit(ops.FlagResent, c.is(isResent)) |
		ops.Bit(flagSameKey, same) | ops.Bit(flagWaits, !c.held()) | ops.Bit(ops.FlagLimited, s.maxHold(c) > 0) |
		ops.Bit(ops.FlagPrincipal, c.is(hasPrincipal)))
	if !same {
		e.Bytes(k.name())
		e.Number(uint64(k.slots()))
	}
	if c.held() {
		e.Number(uint64(c.token))
	}
	if c.text == 0 {
		x := s.extra(c)
		e.Text(x.client)
		e.Text(x.request)
	} else {
		_, client, request := s.texts.Bytes(c.text)
		e.Bytes(client)
		e.Bytes(request)
	}
	if c.is(hasPrincipal) {
		e.Text(s.principalOf(c))
	}
	e.Duration(c.ttl())
	if d := s.maxHold(c); d > 0 {
		e.Duration(d)
		if c.held() {
			e.Duration(max(s.extra(c).ends-w.now, 0))
		}
	}
	e.Number(uint64(s.connOf(c)))
	e.Metadata(s.meta(c))
}

// finished writes finished ids, the oldest first.
func (w *pieceWriter) finished() {
	for id, o := range w.m.finished.From(intconv.Int(w.pos.phase-recordFinished), w.pos.finished) {
		if !w.more() {
			w.pos.finished = id
			return
		}
		w.left--
		if o.Until > w.now {
			w.e.Byte(intconv.Uint8(w.pos.phase))
			w.e.Buf = append(w.e.Buf, o.Digest[:]...)
			w.e.Number(uint64(o.Conn))
			w.e.Duration(o.Until - w.now)
		}
	}
	w.pos = position{phase: w.pos.phase + 1}
}

// Encode returns the encoded copy as a whole, with the keys in order: machines to which the same
// ops were applied have the same encoding, except for the times. It is for comparing copies in
// tests.
func (m *Machine) Encode(now time.Duration) []byte {
	w := pieceWriter{m: m, now: now, full: math.MaxInt, left: math.MaxInt}
	w.begin()
	for k := range m.keys.sorted {
		for c := range k.holds {
			w.claim(c)
			w.contended = k.contended
		}
		for x := range k.queue {
			w.claim(x.claim)
			w.contended = k.contended
		}
	}
	for phase := range uint64(2) {
		w.pos = position{phase: recordFinished + phase}
		w.finished()
	}
	w.e.Byte(recordEnd)
	w.e.Number(uint64(max(m.keys.claims.Used(), 0)))
	return w.e.Buf
}
