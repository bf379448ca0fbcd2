package owner

import (
	"errors"
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
)

// Errors of copies and ops that come from another member.
var (
	// ErrMalformed: the bytes are not an encoded copy or op.
	ErrMalformed = errors.New("malformed copy or op")
	// ErrUnknown: it has something that a later release has added, so this program cannot
	// follow it (W3). It is malformed, too.
	ErrUnknown error = unknownError{}
	// ErrDiverged: the op does not fit the copy it was to be applied to. That
	// copy is not the owner's; it must be fetched anew.
	ErrDiverged = errors.New("op does not fit the copy")
)

// unknownError is [ErrUnknown].
type unknownError struct{}

func (unknownError) Error() string   { return release.ErrUnknown.Error() }
func (unknownError) Unwrap() []error { return []error{ErrMalformed, release.ErrUnknown} }

// OpKind is what an [Op] decides. The numbers are on the wire: append only.
type OpKind uint8

const (
	// OpGrant gives a token to a request: at once, or with Waited to a waiter,
	// which leaves the queue.
	OpGrant OpKind = iota + 1
	// OpEnqueue puts a request at the end of the key's queue.
	OpEnqueue
	// OpRenew confirms a token and sets its TTL.
	OpRenew
	// OpRelease ends a token.
	OpRelease
	// OpDequeue takes a waiter out of the queue.
	OpDequeue
	// OpRemember makes a request id over that was never seen.
	OpRemember
	// OpRead changes nothing: it is the place in the log of a linearizable read, or of
	// renewals that keep their TTLs.
	OpRead
)

// unknownTo is [ErrUnknown] about something.
func unknownTo(format string, args ...any) error {
	return fmt.Errorf("%w: %s; this program is release %d", ErrUnknown, fmt.Sprintf(format, args...), release.Current)
}

// String is the kind's name.
func (k OpKind) String() string {
	names := [...]string{"", "grant", "enqueue", "renew", "release", "dequeue", "remember", "read"}
	if k == 0 || int(k) >= len(names) {
		return fmt.Sprintf("OpKind(%d)", uint8(k))
	}
	return names[k]
}

// Why says what ended a hold or a wait. The numbers are on the wire: append only.
type Why uint8

const (
	// Released: the holder gave the hold back.
	Released Why = iota + 1
	// Expired: nobody renewed the hold.
	Expired
	// Forced: an administrator took the hold away.
	Forced
	// Cancelled: the caller gave its request up.
	Cancelled
	// WaitOver: the wait of the newest send is over.
	WaitOver
	// Silent: the waiter was not sent again for three periods (Q5).
	Silent
)

// String is the reason's name.
func (w Why) String() string {
	names := [...]string{"", "released", "expired", "forced", "cancelled", "wait over", "silent"}
	if w == 0 || int(w) >= len(names) {
		return fmt.Sprintf("Why(%d)", uint8(w))
	}
	return names[w]
}

// Op is one decision about a partition, the same for the owner and all backups
// (A3). Which fields count depends on the kind, see opFields; the others are
// zero. The zero Op is none.
type Op struct {
	Kind OpKind
	// Why ended the hold or the wait.
	Why  Why
	Mode sharelock.Mode
	// Waited: the grant is for a waiter, whose client, mode, slots and metadata
	// are known from its OpEnqueue.
	Waited bool
	// OwnID: the request id was made by the client.
	OwnID bool
	// Resent: more than one send of the request may be under way (Q2).
	Resent bool
	// Remember: the request id is over and late duplicates of it are told so (Q2).
	Remember bool
	// unknown: the member that made the op knows that the request id is not among its
	// finished ids. It is not sent: the clock of a backup is another.
	unknown bool
	Slots   uint32
	// Conn is the connection in whose share the request is (Q6); 0 is none.
	Conn      uint32
	Key       string
	ClientID  string
	RequestID string
	Token     sharelock.Token
	TTL       time.Duration
	// MaxHold is the longest that the hold may last from its grant on; 0 is no limit.
	MaxHold time.Duration
	// Metadata must not be changed. In a renewal nil keeps what the hold has, and an empty
	// map leaves none.
	Metadata map[string]string
}

// size is about how many bytes of texts and metadata the op has.
func (op *Op) size() int {
	return len(op.Key) + len(op.ClientID) + len(op.RequestID) + metadataSize(op.Metadata)
}

// fieldSet names fields of an Op.
type fieldSet uint16

const (
	hasClient fieldSet = 1 << iota
	hasRequest
	hasToken
	hasTTL
	hasSlots
	hasWhy
	hasMeta
	hasConn
	hasMaxHold
	// The flags share a byte.
	hasMode
	hasOwnID
	hasResent
	hasRemember
)

// fields says which fields the op has besides its key.
func (op *Op) fields() fieldSet {
	f := opFields(op.Kind, op.Waited)
	if op.Kind == OpRenew && op.Metadata != nil {
		f |= hasMeta
	}
	return f
}

// opFields says which fields an op of a kind has besides its key. A renewal may have
// metadata, too.
func opFields(kind OpKind, waited bool) fieldSet {
	const asked = hasClient | hasRequest | hasTTL | hasSlots | hasMeta | hasMaxHold | hasConn | hasMode | hasOwnID | hasResent
	switch kind {
	case OpGrant:
		if waited {
			return hasRequest | hasToken | hasTTL | hasResent
		}
		return asked | hasToken
	case OpEnqueue:
		return asked
	case OpRenew:
		return hasToken | hasTTL | hasResent
	case OpRelease:
		return hasToken | hasWhy | hasRemember
	case OpDequeue:
		return hasRequest | hasWhy | hasRemember
	case OpRemember:
		return hasRequest | hasConn
	default:
		return 0
	}
}

// Bits of the flag byte.
const (
	flagShared = 1 << iota
	flagWaited
	flagOwnID
	flagResent
	flagRemember
	// flagLimited: there is a MaxHold.
	flagLimited
	// flagMeta, in a renewal: there is metadata.
	flagMeta
)

// Append appends the encoded op to b. The encoding is stable.
func (op *Op) Append(b []byte) []byte {
	f := op.fields()
	e := encoder{b: b}
	e.byte(byte(op.Kind))
	e.byte(bit(flagShared, op.Mode == sharelock.Shared) | bit(flagWaited, op.Waited) |
		bit(flagOwnID, op.OwnID) | bit(flagResent, op.Resent) | bit(flagRemember, op.Remember) |
		bit(flagLimited, op.MaxHold != 0) | bit(flagMeta, op.Kind == OpRenew && f&hasMeta != 0))
	e.text(op.Key)
	if f&hasClient != 0 {
		e.text(op.ClientID)
	}
	if f&hasRequest != 0 {
		e.text(op.RequestID)
	}
	if f&hasToken != 0 {
		e.number(uint64(op.Token))
	}
	if f&hasTTL != 0 {
		e.number(uint64(op.TTL))
	}
	if op.MaxHold != 0 {
		e.number(uint64(op.MaxHold))
	}
	if f&hasSlots != 0 {
		e.number(uint64(op.Slots))
	}
	if f&hasWhy != 0 {
		e.byte(byte(op.Why))
	}
	if f&hasConn != 0 {
		e.number(uint64(op.Conn))
	}
	if f&hasMeta != 0 {
		e.metadata(op.Metadata)
	}
	return e.b
}

// Decode reads one op from the front of b and gives what is behind it. It fails
// with [ErrMalformed]; then op is the zero Op.
func (op *Op) Decode(b []byte) (rest []byte, err error) {
	*op = Op{}
	d := decoder{b: b}
	got := Op{Kind: OpKind(d.byte())}
	flags := d.byte()
	// What these mean, and what comes behind them, is not known (W3).
	switch {
	case d.failed:
		return nil, ErrMalformed
	case got.Kind > lastOp:
		return nil, unknownTo("an op of kind %d", got.Kind)
	case flags >= flagMeta<<1:
		return nil, unknownTo("a flag of %v, %#x", got.Kind, flags)
	}
	got.Waited = flags&flagWaited != 0
	if flags&flagMeta != 0 {
		if got.Kind != OpRenew {
			return nil, fmt.Errorf("%w: %v with a flag it does not have", ErrMalformed, got.Kind)
		}
		got.Metadata = map[string]string{}
	}
	f := got.fields()
	got.flags(flags)
	got.Key = d.text()
	if f&hasClient != 0 {
		got.ClientID = d.text()
	}
	if f&hasRequest != 0 {
		got.RequestID = d.text()
	}
	if f&hasToken != 0 {
		got.Token = sharelock.Token(d.number())
	}
	if f&hasTTL != 0 {
		got.TTL = time.Duration(d.number())
	}
	if flags&flagLimited != 0 {
		if got.MaxHold = d.span(); got.MaxHold == 0 {
			d.fail()
		}
	}
	if f&hasSlots != 0 {
		got.Slots = d.number32()
	}
	if f&hasWhy != 0 {
		got.Why = Why(d.byte())
	}
	if f&hasConn != 0 {
		got.Conn = d.number32()
	}
	if f&hasMeta != 0 {
		if m := d.metadata(); m != nil || got.Kind != OpRenew {
			got.Metadata = m
		}
	}
	switch {
	case d.failed:
		return nil, ErrMalformed
	case got.Why > Silent:
		return nil, unknownTo("%v for reason %d", got.Kind, got.Why)
	}
	if err := got.valid(); err != nil {
		return nil, err
	}
	*op = got
	return d.b, nil
}

func (op *Op) flags(b byte) {
	if b&flagShared != 0 {
		op.Mode = sharelock.Shared
	}
	op.OwnID = b&flagOwnID != 0
	op.Resent = b&flagResent != 0
	op.Remember = b&flagRemember != 0
}

// valid checks the op's fields by themselves; whether it fits a copy is found out
// by applying it.
func (op *Op) valid() error {
	f := op.fields()
	bad := func(what string) error { return fmt.Errorf("%w: %v with %s", ErrMalformed, op.Kind, what) }
	switch {
	case op.Kind < OpGrant || op.Kind > lastOp:
		return bad("unknown kind")
	case op.Waited && op.Kind != OpGrant,
		f&hasMode == 0 && op.Mode != 0,
		f&hasOwnID == 0 && op.OwnID,
		f&hasResent == 0 && op.Resent,
		f&hasRemember == 0 && op.Remember,
		f&hasMeta == 0 && op.Metadata != nil,
		f&hasMaxHold == 0 && op.MaxHold != 0:
		return bad("a flag it does not have")
	case !validKey(op.Key):
		return bad("a bad key")
	case f&hasClient != 0 && !validClient(op.ClientID):
		return bad("a bad client id")
	case f&hasRequest != 0 && !validRequestID(op.RequestID):
		return bad("a bad request id")
	case f&hasToken != 0 && !validToken(op.Token):
		return bad("a bad token")
	case f&hasTTL != 0 && !validTTL(op.TTL):
		return bad("a bad TTL")
	case !validMaxHold(op.MaxHold):
		return bad("a bad longest time")
	case f&hasSlots != 0 && !validFamily(op.Mode, op.Slots):
		return bad("bad slots")
	case f&hasWhy != 0 && (op.Why < Released || op.Why > Silent):
		return bad("a bad reason")
	case !validMetadata(op.Metadata):
		return bad("bad metadata")
	}
	return nil
}
