package machine

import (
	"errors"
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/machine/finished"
	"github.com/sgkandale/sharelock/owner/ops"
)

// An Assembler decodes the pieces of an encoded copy. It is not safe for concurrent use. Create one
// with [NewAssembler].
type Assembler struct {
	m    *Machine
	r    ops.Decoder
	now  time.Duration
	err  error
	done bool
	// begun is set once the first record has come. key and slots are those of the claim before in
	// this piece.
	begun  bool
	key    string
	slots  uint32
	claims uint64
}

// NewAssembler returns an assembler for a copy of a partition. maxWaiters is as for [New].
func NewAssembler(partition uint32, maxWaiters int) *Assembler {
	return &Assembler{m: New(partition, maxWaiters)}
}

// Add adds the next piece. Times that are left count from now. After an error, which is
// [ops.ErrMalformed] and may be [ops.ErrUnknown], all further calls fail.
func (d *Assembler) Add(now time.Duration, piece []byte) error {
	d.r, d.now, d.key = ops.Decoder{Rest: piece}, now, ""
	for d.err == nil && len(d.r.Rest) > 0 {
		if err := d.record(); errors.Is(err, ops.ErrMalformed) {
			d.err = err
		} else if err != nil {
			d.err = fmt.Errorf("%w: %w", ops.ErrMalformed, err)
		} else if d.r.Failed {
			d.err = fmt.Errorf("%w: a record is cut off", ops.ErrMalformed)
		}
	}
	return d.err
}

// Machine returns the copy, which is not active, after the last piece has been added. Its error is
// [ops.ErrMalformed].
func (d *Assembler) Machine() (*Machine, error) {
	if d.err == nil && !d.done {
		d.err = fmt.Errorf("%w: pieces are missing", ops.ErrMalformed)
	}
	if d.err != nil {
		return nil, d.err
	}
	return d.m, nil
}

func (d *Assembler) record() error {
	kind := d.r.Byte()
	if (kind == recordBegin) == d.begun || d.done {
		return fmt.Errorf("a record of kind %d out of order", kind)
	}
	switch kind {
	case recordBegin:
		return d.begin()
	case recordClaim:
		return d.claim()
	case recordFinished, recordFence:
		return d.finished(int(kind - recordFinished))
	case recordEnd:
		d.done = true
		if n := d.r.Number(); n != d.claims {
			return fmt.Errorf("%d claims, want %d", d.claims, n)
		}
		return d.noneFinished()
	case 0:
		return fmt.Errorf("a record of no kind")
	default:
		return ops.Unknown("a record of kind %d in a copy", kind)
	}
}

func (d *Assembler) begin() error {
	d.begun = true
	switch v := d.r.Byte(); {
	case v > copyVersion:
		return ops.Unknown("a copy of version %d", v)
	case v < copyVersion:
		return fmt.Errorf("unknown version %d", v)
	}
	m := d.m
	if p := d.r.Number32(); p != m.partition {
		return fmt.Errorf("it is of partition %d, not %d", p, m.partition)
	}
	m.seq, m.last = d.r.Number(), sharelock.Token(d.r.Number())
	if m.last != 0 && !ops.ValidToken(m.last) {
		return fmt.Errorf("token %d out of range", m.last)
	}
	if left := d.r.Duration(); left > 0 {
		m.quarantine, m.beganLost = d.now+left, true
	}
	return nil
}

// claim reads a claim as the op that would create it.
func (d *Assembler) claim() error {
	flags := d.r.Byte()
	if flags&unknownFlag != 0 {
		return ops.Unknown("a flag of a claim in a copy, %#x", flags)
	}
	if flags&flagSameKey == 0 {
		d.key, d.slots = d.r.Text(), d.r.Number32()
	}
	op := ops.Op{Kind: ops.Enqueue, Key: d.key, Slots: d.slots}
	op.SetFlags(flags &^ flagWaits)
	if flags&flagWaits == 0 {
		op.Kind, op.Token = ops.Grant, sharelock.Token(d.r.Number())
	}
	op.ClientID, op.RequestID = d.r.Text(), d.r.Text()
	if flags&ops.FlagPrincipal != 0 {
		if op.Principal = d.r.Text(); op.Principal == "" || !ops.ValidPrincipal(op.Principal) {
			return fmt.Errorf("key %q: bad principal", d.key)
		}
	}
	op.TTL = d.r.Duration()
	var left time.Duration
	if flags&ops.FlagLimited != 0 {
		op.MaxHold = d.r.Duration()
		if op.Kind == ops.Grant {
			left = d.r.Duration()
		}
		if op.MaxHold == 0 || left > rules.Stretch(op.MaxHold) {
			return fmt.Errorf("key %q: %v left of at most %v", d.key, left, op.MaxHold)
		}
	}
	op.Conn = d.r.Number32()
	op.Metadata = d.r.Metadata()
	if d.r.Failed {
		return fmt.Errorf("key %q: a claim is cut off", d.key)
	}
	d.claims++
	return d.add(&op, left)
}

// add creates the claim. left is how much is left of its longest time.
func (d *Assembler) add(op *ops.Op, left time.Duration) error {
	m := d.m
	if !ops.ValidKey(op.Key) || !ops.ValidClient(op.ClientID) || !ops.ValidRequestID(op.RequestID) || !ops.ValidTTL(op.TTL) || !ops.ValidFamily(op.Mode, op.Slots) || !ops.ValidMaxHold(op.MaxHold) {
		return fmt.Errorf("key %q: bad claim", op.Key)
	}
	k := m.keys.get(op.Key)
	switch {
	case !k.idle() && k.slots() != op.Slots:
		return fmt.Errorf("key %q: other slots", op.Key)
	case k.find(op.Principal, op.RequestID) != nil:
		return fmt.Errorf("key %q: request id %q twice", op.Key, op.RequestID)
	case op.Kind == ops.Grant && !k.admits(op.Mode):
		return fmt.Errorf("key %q: too many holders", op.Key)
	case op.Kind == ops.Grant && (op.Token <= k.newest() || op.Token > m.last):
		return fmt.Errorf("key %q: token %d out of order", op.Key, op.Token)
	}
	c := m.keys.add(k, op)
	c.since = d.now
	m.used.bytes += m.keys.costOf(c)
	if c.held() && op.MaxHold > 0 {
		m.keys.extra(c).ends = d.now + left
	}
	if !c.held() {
		m.waiters++
	}
	return nil
}

// finished reads a request id that is over.
func (d *Assembler) finished(queue int) error {
	o := finished.ID{Digest: d.r.Bytes16(), Conn: d.r.Number32()}
	left, most := d.r.Duration(), finished.Keep
	if queue == finished.Fence {
		most = rules.FenceTime
	}
	if d.r.Failed {
		return nil
	}
	f := &d.m.finished
	switch {
	case left == 0 || left > most:
		return fmt.Errorf("finished request id %x: %v left", o.Digest, left)
	case f.Knows(&o.Digest):
		return fmt.Errorf("finished request id %x twice", o.Digest)
	}
	o.Until = d.now + left
	d.m.remember(queue, o)
	return nil
}

// noneFinished checks that no claim has a request id that is over.
func (d *Assembler) noneFinished() error {
	s := &d.m.keys
	if d.m.finished.Len() == 0 {
		return nil
	}
	for i := range s.claims.Last() {
		c := s.claims.At(uint32(i + 1))
		key, _, request := s.ids(c)
		if d.m.finished.Has(key, s.principalOf(c), request) {
			return fmt.Errorf("key %q: request id %q is over", key, request)
		}
	}
	return nil
}
