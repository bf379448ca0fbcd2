package ops

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
)

// Errors of copies and ops that come from another member.
var (
	// ErrMalformed means that the bytes are not an encoded copy or op.
	ErrMalformed = errors.New("malformed copy or op")
	// ErrUnknown means that a copy or op has something that a later release has added, so that this
	// program cannot follow it (W3). It wraps ErrMalformed.
	ErrUnknown error = unknownError{}
	// ErrDiverged means that an op does not fit the copy to which it should be applied. That copy
	// is not the owner's and must be fetched again.
	ErrDiverged = errors.New("op does not fit the copy")
)

// unknownError is [ErrUnknown].
type unknownError struct{}

func (unknownError) Error() string   { return release.ErrUnknown.Error() }
func (unknownError) Unwrap() []error { return []error{ErrMalformed, release.ErrUnknown} }

// A Kind is what an [Op] decides. The numbers are on the wire: append only.
type Kind uint8

const (
	// Grant gives a token to a request at once or, with Waited set, to a waiter, which leaves the
	// queue.
	Grant Kind = iota + 1
	// Enqueue puts a request at the end of the key's queue.
	Enqueue
	// Renew confirms a hold and sets its TTL.
	Renew
	// Release ends a hold.
	Release
	// Dequeue removes a waiter from the queue.
	Dequeue
	// Remember makes a request id that was never seen count as over.
	Remember
	// Read changes nothing. It is the place in the log of a linearizable read, or of renewals that
	// keep their TTLs.
	Read
)

// Unknown returns an [ErrUnknown] about something.
func Unknown(format string, args ...any) error {
	return fmt.Errorf("%w: %s; this program is release %d", ErrUnknown, fmt.Sprintf(format, args...), release.Current)
}

// String returns the name of the kind.
func (k Kind) String() string {
	names := [...]string{"", "grant", "enqueue", "renew", "release", "dequeue", "remember", "read"}
	if k == 0 || int(k) >= len(names) {
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
	return names[k]
}

// A Why says what ended a hold or a wait. The numbers are on the wire: append only.
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

// String returns the name of the reason.
func (w Why) String() string {
	names := [...]string{"", "released", "expired", "forced", "cancelled", "wait over", "silent"}
	if w == 0 || int(w) >= len(names) {
		return fmt.Sprintf("Why(%d)", uint8(w))
	}
	return names[w]
}

// An Op is one decision about a partition, the same for the owner and all backups (A3). Which
// fields count depends on the kind, see opFields; the others are zero. The zero Op is none.
type Op struct {
	Kind Kind
	// Why ended the hold or the wait.
	Why  Why
	Mode sharelock.Mode
	// Waited is set if the grant is for a waiter, whose client, mode, slots and metadata are known
	// from its Enqueue.
	Waited bool
	// OwnID is set if the client made the request id.
	OwnID bool
	// Resent is set if more than one send of the request may be under way (Q2).
	Resent bool
	// Remember is set if the request id is over and late duplicates of it are told so (Q2).
	Remember bool
	// Unseen is set at the member that made the op if the request id is not among its finished ids.
	// It is not encoded, because a backup forgets ids by its own clock.
	Unseen bool
	// ClaimMode is the mode of the hold or the wait that the op ends, and Lasted is how long that
	// has lasted, as far as the member knows that made the op. They are not encoded; they are for
	// its statistics.
	ClaimMode sharelock.Mode
	Lasted    time.Duration
	Slots     uint32
	// Conn is the connection to whose share the request counts (Q6); 0 is none. If there is a
	// Principal, all its connections have the same number.
	Conn      uint32
	Key       string
	ClientID  string
	RequestID string
	// Principal is that of the request, so that the op is about the request id of this principal;
	// empty is none. Only views of release.Principals have it (W1).
	Principal string
	// By is who took a hold away, in a Release that is Forced; empty is not known. Only views of
	// release.Principals have it (W1).
	By    string
	Token sharelock.Token
	TTL   time.Duration
	// MaxHold is the longest that the hold may last from its grant on; 0 is no limit.
	MaxHold time.Duration
	// Metadata must not be changed. In a renewal nil keeps the metadata of the hold, and an empty
	// map removes it.
	Metadata map[string]string
}

// Size returns about how many bytes of texts and metadata the op has.
func (op *Op) Size() int {
	return len(op.Key) + len(op.ClientID) + len(op.RequestID) + len(op.Principal) + len(op.By) + MetadataSize(op.Metadata)
}

// MaxBy is the largest number of bytes of [Op.By].
const MaxBy = max(sharelock.MaxPrincipalBytes, sharelock.MaxClientIDBytes)

// A fieldSet is a set of fields of an Op.
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
	hasPrincipal
	hasBy
	// The flags share a byte.
	hasMode
	hasOwnID
	hasResent
	hasRemember
)

// fields returns the fields that the op has besides its key.
func (op *Op) fields() fieldSet {
	f := opFields(op.Kind, op.Waited)
	if op.Kind == Renew && op.Metadata != nil {
		f |= hasMeta
	}
	return f
}

// opFields returns the fields that an op of a kind has besides its key. A renewal may also have
// metadata. A principal and a MaxHold have a flag, so that they take nothing if there is none.
func opFields(kind Kind, waited bool) fieldSet {
	const asked = hasClient | hasRequest | hasTTL | hasSlots | hasMeta | hasMaxHold | hasConn | hasMode | hasOwnID | hasResent | hasPrincipal
	switch kind {
	case Grant:
		if waited {
			return hasRequest | hasToken | hasTTL | hasResent | hasPrincipal
		}
		return asked | hasToken
	case Enqueue:
		return asked
	case Renew:
		return hasToken | hasTTL | hasResent
	case Release:
		return hasToken | hasWhy | hasRemember | hasBy
	case Dequeue:
		return hasRequest | hasWhy | hasRemember | hasPrincipal
	case Remember:
		return hasRequest | hasConn | hasPrincipal
	default:
		return 0
	}
}

// Bits of the flag byte.
const (
	FlagShared = 1 << iota
	FlagWaited
	FlagOwnID
	FlagResent
	FlagRemember
	// FlagLimited is set if there is a MaxHold.
	FlagLimited
	// FlagMetadata, in a renewal, is set if there is metadata.
	FlagMetadata
	// FlagPrincipal is set if there is a principal or, in a Release, a By. All bits are used: what a
	// later release adds needs another kind of op.
	FlagPrincipal
)

// Early reports whether the op has something of a later release than the view's, which the programs
// of that release would not know (W1).
func (op *Op) Early(viewRelease uint32) bool {
	return (op.Principal != "" || op.By != "") && viewRelease < release.Principals || earlyKind(op.Kind, viewRelease)
}

// Append appends the encoded op to b. The encoding is stable.
func (op *Op) Append(b []byte) []byte {
	f := op.fields()
	e := Encoder{Buf: b}
	e.Byte(byte(op.Kind))
	e.Byte(Bit(FlagShared, op.Mode == sharelock.Shared) | Bit(FlagWaited, op.Waited) |
		Bit(FlagOwnID, op.OwnID) | Bit(FlagResent, op.Resent) | Bit(FlagRemember, op.Remember) |
		Bit(FlagLimited, op.MaxHold != 0) | Bit(FlagMetadata, op.Kind == Renew && f&hasMeta != 0) |
		Bit(FlagPrincipal, op.Principal != "" || op.By != ""))
	e.Text(op.Key)
	if f&hasClient != 0 {
		e.Text(op.ClientID)
	}
	if f&hasRequest != 0 {
		e.Text(op.RequestID)
	}
	if op.Principal != "" {
		e.Text(op.Principal)
	} else if op.By != "" {
		e.Text(op.By)
	}
	if f&hasToken != 0 {
		e.Number(uint64(op.Token))
	}
	if f&hasTTL != 0 {
		e.Duration(op.TTL)
	}
	if op.MaxHold != 0 {
		e.Duration(op.MaxHold)
	}
	if f&hasSlots != 0 {
		e.Number(uint64(op.Slots))
	}
	if f&hasWhy != 0 {
		e.Byte(byte(op.Why))
	}
	if f&hasConn != 0 {
		e.Number(uint64(op.Conn))
	}
	if f&hasMeta != 0 {
		e.Metadata(op.Metadata)
	}
	return e.Buf
}

// Decode decodes one op from the front of b and returns the rest of b. Its error wraps
// [ErrMalformed]; then op is the zero Op.
func (op *Op) Decode(b []byte) (rest []byte, err error) {
	*op = Op{}
	d := Decoder{Rest: b}
	got := Op{Kind: Kind(d.Byte())}
	flags := d.Byte()
	// A later release may have added these; what follows them is not known (W3).
	switch {
	case d.Failed:
		return nil, ErrMalformed
	case got.Kind > Last:
		return nil, Unknown("an op of kind %d", got.Kind)
	}
	got.Waited = flags&FlagWaited != 0
	if flags&FlagMetadata != 0 {
		if got.Kind != Renew {
			return nil, fmt.Errorf("%w: %v with a flag it does not have", ErrMalformed, got.Kind)
		}
		got.Metadata = map[string]string{}
	}
	f := got.fields()
	got.SetFlags(flags)
	if f&(hasClient|hasRequest) != 0 {
		d.share(1 + bits.OnesCount(uint(f&(hasClient|hasRequest))))
	}
	got.Key = d.Text()
	if f&hasClient != 0 {
		got.ClientID = d.Text()
	}
	if f&hasRequest != 0 {
		got.RequestID = d.Text()
	}
	if flags&FlagPrincipal != 0 {
		who := &got.Principal
		if f&hasBy != 0 {
			who = &got.By
		}
		if *who = d.Text(); *who == "" {
			d.Fail()
		}
	}
	if f&hasToken != 0 {
		got.Token = sharelock.Token(d.Number())
	}
	if f&hasTTL != 0 {
		got.TTL = d.Duration()
	}
	if flags&FlagLimited != 0 {
		if got.MaxHold = d.Duration(); got.MaxHold == 0 {
			d.Fail()
		}
	}
	if f&hasSlots != 0 {
		got.Slots = d.Number32()
	}
	if f&hasWhy != 0 {
		got.Why = Why(d.Byte())
	}
	if f&hasConn != 0 {
		got.Conn = d.Number32()
	}
	if f&hasMeta != 0 {
		if m := d.Metadata(); m != nil || got.Kind != Renew {
			got.Metadata = m
		}
	}
	switch {
	case d.Failed:
		return nil, ErrMalformed
	case got.Why > Silent:
		return nil, Unknown("%v for reason %d", got.Kind, got.Why)
	}
	if err := got.Valid(); err != nil {
		return nil, err
	}
	*op = got
	return d.Rest, nil
}

// SetFlags sets the fields that the bits of a flag byte stand for.
func (op *Op) SetFlags(b byte) {
	if b&FlagShared != 0 {
		op.Mode = sharelock.Shared
	}
	op.OwnID = b&FlagOwnID != 0
	op.Resent = b&FlagResent != 0
	op.Remember = b&FlagRemember != 0
}

// Valid returns an error unless the fields of the op are valid by themselves. Whether the op fits a
// copy is found out by applying it.
func (op *Op) Valid() error {
	f := op.fields()
	bad := func(what string) error { return fmt.Errorf("%w: %v with %s", ErrMalformed, op.Kind, what) }
	switch {
	case op.Kind < Grant || op.Kind > Last:
		return bad("unknown kind")
	case op.Waited && op.Kind != Grant,
		f&hasMode == 0 && op.Mode != 0,
		f&hasOwnID == 0 && op.OwnID,
		f&hasResent == 0 && op.Resent,
		f&hasRemember == 0 && op.Remember,
		f&hasMeta == 0 && op.Metadata != nil,
		f&hasMaxHold == 0 && op.MaxHold != 0,
		f&hasPrincipal == 0 && op.Principal != "",
		op.Why != Forced && op.By != "":
		return bad("a flag it does not have")
	case !ValidKey(op.Key):
		return bad("a bad key")
	case f&hasClient != 0 && !ValidClient(op.ClientID):
		return bad("a bad client id")
	case f&hasRequest != 0 && !ValidRequestID(op.RequestID):
		return bad("a bad request id")
	case !ValidPrincipal(op.Principal):
		return bad("a bad principal")
	case len(op.By) > MaxBy:
		return bad("a bad name of who forced it")
	case f&hasToken != 0 && !ValidToken(op.Token):
		return bad("a bad token")
	case f&hasTTL != 0 && !ValidTTL(op.TTL):
		return bad("a bad TTL")
	case !ValidMaxHold(op.MaxHold):
		return bad("a bad longest time")
	case f&hasSlots != 0 && !ValidFamily(op.Mode, op.Slots):
		return bad("bad slots")
	case f&hasWhy != 0 && (op.Why < Released || op.Why > Silent):
		return bad("a bad reason")
	case !ValidMetadata(op.Metadata):
		return bad("bad metadata")
	}
	return nil
}
