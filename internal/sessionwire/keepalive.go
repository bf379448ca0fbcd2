package sessionwire

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/protofield"
)

// The messages that keep holds alive are also encoded by hand. They are read separately from calls:
// [CallReader] and [ReplyReader] skip them and report that there are some.

// KeepKind is the kind of a [Keep]. The numbers are the field numbers in [SessionRequest].
type KeepKind uint8

// The requests of a session other than calls.
const (
	// KeepAlive is a keepalive for all attached holds.
	KeepAlive KeepKind = 3
	// KeepAttach attaches a hold, KeepDetach detaches it.
	KeepAttach KeepKind = 4
	KeepDetach KeepKind = 5
	// KeepClose releases all attached holds and ends the stream. Its ID is 1.
	KeepClose KeepKind = 6
	// KeepRing asks for the owners of all partitions. Its ID is 1.
	KeepRing KeepKind = 7
	// KeepWatch begins a watch, KeepUnwatch ends it. KeepRead reports that events of it were read.
	KeepWatch   KeepKind = 9
	KeepUnwatch KeepKind = 10
	KeepRead    KeepKind = 11
)

// Keep is one request of a session that is not a call.
type Keep struct {
	Kind KeepKind
	// ID is the number of a keepalive, or the id of a hold or a watch.
	ID uint64
	// Key, Token and TTL belong to a hold that is attached.
	Key   string
	Token sharelock.Token
	TTL   time.Duration
	// Watch is what is watched from now on. Events is then how many events may be sent ahead, see
	// [sharelockv1.SessionWatch], and otherwise how many were read.
	Watch  *sharelock.WatchRequest
	Events uint32
	// AnyHold is set by the node that took the request, see [caller.Caller]. It is not on the wire.
	AnyHold bool
	// Err is set if the hold is well-formed but invalid, or if the caller may not have it.
	Err error
}

// KeepReader reads the requests of a session's message other than its calls. The zero value reads
// nothing.
type KeepReader struct {
	rest []byte
	// packed has the ids of holds to detach, or of watches to end, that are still to be read, and kind says
	// which of the two.
	packed []byte
	kind   KeepKind
}

// Reset begins a new message. Results of Next do not refer to data.
func (r *KeepReader) Reset(data []byte) { r.rest, r.packed = data, nil }

// Next reads the next request. It reports false at the end of the message. It returns an error if
// data is not a valid message.
func (r *KeepReader) Next(k *Keep) (bool, error) {
	for {
		if len(r.packed) > 0 {
			v, n := protowire.ConsumeVarint(r.packed)
			if n < 0 {
				return false, protofield.ErrMalformed
			}
			r.packed = r.packed[n:]
			*k = Keep{Kind: r.kind, ID: v}
			return true, nil
		}
		if len(r.rest) == 0 {
			return false, nil
		}
		f, err := protofield.Next(&r.rest)
		if err != nil {
			return false, err
		}
		found := false
		switch f.Typ {
		case protowire.VarintType:
			found = k.number(&f)
		case protowire.BytesType:
			found, err = r.message(k, &f)
		}
		if found || err != nil {
			return found, err
		}
	}
}

// number decodes a request that is a number, and reports whether the field is one.
func (k *Keep) number(f *protofield.Field) bool {
	switch kind := KeepKind(intconv.Uint8(f.Num)); kind {
	case KeepClose, KeepRing:
		if f.V == 0 {
			return false
		}
		fallthrough
	case KeepAlive, KeepDetach, KeepUnwatch:
		*k = Keep{Kind: kind, ID: f.V}
		return true
	default:
		return false
	}
}

// message decodes a request that is a message, or begins a list of numbers. It reports whether k was decoded.
func (r *KeepReader) message(k *Keep, f *protofield.Field) (bool, error) {
	switch kind := KeepKind(intconv.Uint8(f.Num)); kind {
	case KeepDetach, KeepUnwatch:
		r.packed, r.kind = f.B, kind
	case KeepAttach:
		*k = Keep{Kind: kind}
		return true, k.read(f.B)
	case KeepWatch:
		*k = Keep{Kind: kind}
		return true, k.readWatch(f.B)
	case KeepRead:
		*k = Keep{Kind: kind}
		return true, k.readRead(f.B)
	}
	return false, nil
}

// read decodes the fields of a [SessionHold].
func (k *Keep) read(body []byte) error {
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		if err != nil {
			return err
		}
		switch {
		case f.Num == 1 && f.Typ == protowire.VarintType:
			k.ID = f.V
		case f.Num == 2 && f.Typ == protowire.BytesType:
			k.Key = string(f.B)
		case f.Num == 3 && f.Typ == protowire.VarintType:
			k.Token = sharelock.Token(f.V)
		case f.Num == 4 && f.Typ == protowire.BytesType:
			var ok bool
			if k.TTL, ok, err = durationField(f.B); err != nil {
				return err
			} else if !ok {
				k.Err = sharelock.Invalid("ttl", "is malformed or out of range")
			}
		}
	}
	switch {
	case k.Err != nil:
	case k.Token == 0 || k.Token > math.MaxInt64:
		k.Err = sharelock.Invalid("token", "is missing, or does not fit a signed 64-bit integer")
	case k.TTL < sharelock.MinTTL:
		k.Err = sharelock.Invalid("ttl", "is missing, or below the least")
	}
	return nil //nolint:nilerr // k.Err is the answer
}

// AppendKeep appends a request to a [SessionRequest].
func AppendKeep(b []byte, k *Keep) []byte {
	switch k.Kind {
	case KeepAttach:
	case KeepWatch:
		return k.appendWatch(b)
	case KeepRead:
		return k.appendRead(b)
	default:
		b = protowire.AppendTag(b, protowire.Number(k.Kind), protowire.VarintType)
		return protowire.AppendVarint(b, k.ID)
	}
	b, at := protofield.Open(b, protowire.Number(KeepAttach))
	b = protofield.AppendUint(b, 1, k.ID)
	b = protofield.AppendString(b, 2, k.Key)
	b = protofield.AppendUint(b, 3, uint64(k.Token))
	b = appendDuration(b, 4, k.TTL)
	return protofield.Shut(b, at)
}

// Kept is a message of a node about an attached hold, the owners of all partitions, a forced
// release, the place of a call in the queue, or a watch.
type Kept struct {
	// ID is the id of the hold or, with a Position, of the call or, with Events, of the watch.
	ID uint64
	// Keepalive is the keepalive from which the hold's newest renewal counts. It is 0 if the hold
	// is no longer kept alive; then Status has the reason.
	Keepalive uint64
	// Status is a google.rpc.Status in its wire format.
	Status []byte
	// Ring is a [GetRingResponse] in its wire format, or nil.
	Ring []byte
	// Forced is a hold that was taken from its holder by force, or nil.
	Forced *Forced
	// Position is the place of a call in the queue, from 1, or 0.
	Position uint32
	// Closing is why the node ends the session, a google.rpc.Status in its wire format, or nil.
	Closing []byte
	// Events is what a watch tells, for [ReadEvents], or nil; Over: the watch has ended with it.
	Events []byte
	Over   bool
	// Watches: the node takes watches.
	Watches bool
}

// Forced is a hold that was taken from its holder by force.
type Forced struct {
	Key    string
	Token  sharelock.Token
	Reason string
}

// AppendRenewed appends a [SessionRenewed] to a [SessionResponse].
func AppendRenewed(b []byte, keepalive uint64, ids []uint64) []byte {
	b, outer := protofield.Open(b, 3)
	b = protofield.AppendUint(b, 1, keepalive)
	b, inner := protofield.Open(b, 2)
	for _, id := range ids {
		b = protowire.AppendVarint(b, id)
	}
	return protofield.Shut(protofield.Shut(b, inner), outer)
}

// AppendEnd appends a [SessionEnd] to a [SessionResponse].
func AppendEnd(b []byte, id uint64, status []byte) []byte {
	b, at := protofield.Open(b, 4)
	b = protofield.AppendUint(b, 1, id)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendBytes(b, status)
	return protofield.Shut(b, at)
}

// AppendForced appends a [SessionForced] to a [SessionResponse].
func AppendForced(b []byte, key string, token sharelock.Token, reason string) []byte {
	b, at := protofield.Open(b, 6)
	b = protofield.AppendString(b, 1, key)
	b = protofield.AppendUint(b, 2, uint64(token))
	b = protofield.AppendString(b, 3, reason)
	return protofield.Shut(b, at)
}

// AppendQueued appends a [SessionQueued] to a [SessionResponse].
func AppendQueued(b []byte, id uint64, position uint32) []byte {
	b, at := protofield.Open(b, 7)
	b = protofield.AppendUint(b, 1, id)
	b = protofield.AppendUint(b, 2, uint64(position))
	return protofield.Shut(b, at)
}

// closingField is the number of the reason why the node ends a session in a [SessionResponse].
const closingField = 8

// AppendClosing appends why the node ends a session, a google.rpc.Status in its wire format, to a
// [SessionResponse].
func AppendClosing(b, status []byte) []byte {
	b = protowire.AppendTag(b, closingField, protowire.BytesType)
	return protowire.AppendBytes(b, status)
}

// AppendRing appends the owners of all partitions, a [GetRingResponse] in its wire format, to a
// [SessionResponse].
func AppendRing(b, ring []byte) []byte {
	b = protowire.AppendTag(b, 5, protowire.BytesType)
	return protowire.AppendBytes(b, ring)
}

// KeptReader reads the messages of type [Kept] in a [SessionResponse]. The zero value reads
// nothing.
type KeptReader struct {
	rest []byte
	// packed has the ids of renewed holds that are still to be read; keepalive is the keepalive
	// that their renewals count from.
	packed    []byte
	keepalive uint64
}

// Reset begins a new message. Results of Next do not refer to data, except Status.
func (r *KeptReader) Reset(data []byte) { r.rest, r.packed = data, nil }

// Next reads the next message. It reports false at the end of the response.
func (r *KeptReader) Next(k *Kept) (bool, error) {
	for {
		if len(r.packed) > 0 {
			v, n := protowire.ConsumeVarint(r.packed)
			if n < 0 {
				return false, protofield.ErrMalformed
			}
			r.packed = r.packed[n:]
			*k = Kept{ID: v, Keepalive: r.keepalive}
			return true, nil
		}
		if len(r.rest) == 0 {
			return false, nil
		}
		f, err := protofield.Next(&r.rest)
		switch {
		case err != nil:
			return false, err
		case f.Num == watchesField && f.Typ == protowire.VarintType && f.V != 0:
			*k = Kept{Watches: true}
			return true, nil
		case f.Typ != protowire.BytesType:
		case f.Num == 3:
			if err := r.renewed(f.B); err != nil {
				return false, err
			}
		case f.Num == 4:
			*k = Kept{}
			return true, k.ended(f.B)
		case f.Num == 5:
			*k = Kept{Ring: append([]byte{}, f.B...)}
			return true, nil
		case f.Num == 6:
			*k = Kept{Forced: &Forced{}}
			return true, k.Forced.read(f.B)
		case f.Num == 7:
			*k = Kept{}
			if err := k.queued(f.B); err != nil || k.Position > 0 {
				return err == nil, err
			}
		case f.Num == closingField:
			*k = Kept{Closing: append([]byte{}, f.B...)}
			return true, nil
		case f.Num == eventsField:
			*k = Kept{Events: append([]byte{}, f.B...)}
			return true, k.readEvents()
		}
	}
}

// renewed decodes a [SessionRenewed]. It ignores one without a keepalive.
func (r *KeptReader) renewed(body []byte) error {
	var ids []byte
	r.keepalive = 0
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		switch {
		case err != nil:
			return err
		case f.Num == 1 && f.Typ == protowire.VarintType:
			r.keepalive = f.V
		case f.Num == 2 && f.Typ == protowire.BytesType && ids == nil:
			ids = f.B
		}
	}
	if r.keepalive != 0 {
		r.packed = ids
	}
	return nil
}

// read decodes a [SessionForced].
func (o *Forced) read(body []byte) error {
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		switch {
		case err != nil:
			return err
		case f.Num == 1 && f.Typ == protowire.BytesType:
			o.Key = string(f.B)
		case f.Num == 2 && f.Typ == protowire.VarintType:
			o.Token = sharelock.Token(f.V)
		case f.Num == 3 && f.Typ == protowire.BytesType:
			o.Reason = string(f.B)
		}
	}
	return nil
}

// queued decodes a [SessionQueued].
func (k *Kept) queued(body []byte) (err error) {
	k.ID, k.Position, err = readCount(body)
	return err
}

// readCount decodes a message that consists of an id and a count.
func readCount(body []byte) (id uint64, count uint32, _ error) {
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		switch {
		case err != nil:
			return 0, 0, err
		case f.Num == 1 && f.Typ == protowire.VarintType:
			id = f.V
		case f.Num == 2 && f.Typ == protowire.VarintType:
			count = f.Uint32()
		}
	}
	return id, count, nil
}

// ended decodes a [SessionEnd].
func (k *Kept) ended(body []byte) error {
	k.Status = []byte{}
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		switch {
		case err != nil:
			return err
		case f.Num == 1 && f.Typ == protowire.VarintType:
			k.ID = f.V
		case f.Num == 2 && f.Typ == protowire.BytesType && len(f.B) > 0:
			k.Status = f.B
		}
	}
	return nil
}
