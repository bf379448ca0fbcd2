package mesh

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/protofield"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// The messages of a link are written and read by hand: the same bytes as the
// generated code makes of a LinkRequest and a LinkResponse, without an object and
// its reflection for every call and every acknowledgement. TestLinkWire* holds the
// two against each other.

// Field numbers of LinkRequest and LinkResponse.
const (
	fieldCalls   = 1 // or answers
	fieldEpoch   = 2 // of what follows
	fieldEntries = 3 // or acks
	fieldPing    = 4 // or pong
)

// linkCall is a call on its way to the owner.
type linkCall struct {
	id    uint64
	epoch uint32
	req   *owner.Request
}

// appendLinkCall appends one call to a LinkRequest.
func appendLinkCall(b []byte, c *linkCall) []byte {
	r := c.req
	b, at := protofield.Open(b, fieldCalls)
	b = protofield.AppendUint(b, 1, c.id)
	b = protofield.AppendUint(b, 2, uint64(c.epoch))
	b = protofield.AppendUint(b, 3, uint64(r.Kind))
	b = protofield.AppendString(b, 4, r.Key)
	b = protofield.AppendUint(b, 5, uint64(r.Token))
	b = protofield.AppendString(b, 6, r.ClientID)
	b = protofield.AppendString(b, 7, r.RequestID)
	b = protofield.AppendUint(b, 8, uint64(r.TTL))
	b = protofield.AppendUint(b, 9, uint64(r.Wait))
	b = protofield.AppendUint(b, 10, uint64(r.Mode))
	b = protofield.AppendUint(b, 11, uint64(r.Slots))
	b = protofield.AppendUint(b, 12, uint64(r.Send))
	b = protofield.AppendUint(b, 13, uint64(callFlags(r)))
	b = appendMetadata(b, 14, r.Metadata)
	b = protofield.AppendString(b, 15, r.Reason)
	if len(r.Renewals) > 0 {
		b = appendRenewals(b, r.Renewals)
	}
	b = protofield.AppendUint(b, 19, uint64(r.Conn))
	b = protofield.AppendUint(b, 20, uint64(r.MaxHold))
	return protofield.Shut(b, at)
}

// appendRenewals appends the holds of a renewal of many to a Call: three lists.
func appendRenewals(b []byte, list []*owner.Renewal) []byte {
	for _, n := range list {
		b = protowire.AppendTag(b, 16, protowire.BytesType)
		b = protowire.AppendString(b, n.Key)
	}
	b, at := protofield.Open(b, 17)
	for _, n := range list {
		b = protowire.AppendVarint(b, uint64(n.Token))
	}
	b, at = protofield.Open(protofield.Shut(b, at), 18)
	for _, n := range list {
		b = protowire.AppendVarint(b, uint64(n.TTL))
	}
	return protofield.Shut(b, at)
}

// readRenewals puts the three lists together; it makes no more than all of them have.
func readRenewals(keys [][]byte, tokens, ttls []byte) []*owner.Renewal {
	var list []*owner.Renewal
	all := make([]owner.Renewal, len(keys))
	for i, key := range keys {
		token, n := protowire.ConsumeVarint(tokens)
		ttl, m := protowire.ConsumeVarint(ttls)
		if n < 0 || m < 0 {
			break
		}
		tokens, ttls = tokens[n:], ttls[m:]
		all[i] = owner.Renewal{Key: string(key), Token: sharelock.Token(token), TTL: ns(int64(ttl))}
		list = append(list, &all[i])
	}
	return list
}

// appendLinkEntries appends the entries of an epoch to a LinkRequest.
func appendLinkEntries(b []byte, epoch uint32, entries []owner.Entries) []byte {
	b = protofield.AppendUint(b, fieldEpoch, uint64(epoch))
	for i := range entries {
		e := &entries[i]
		var at int
		b, at = protofield.Open(b, fieldEntries)
		b = protofield.AppendUint(b, 1, uint64(e.Partition))
		b = protofield.AppendUint(b, 2, e.First)
		if len(e.Ops) > 0 {
			b = protowire.AppendTag(b, 3, protowire.BytesType)
			b = protowire.AppendBytes(b, e.Ops)
		}
		b = protofield.Shut(b, at)
	}
	return b
}

// appendLinkPing appends a ping to a LinkRequest, or a pong to a LinkResponse.
func appendLinkPing(b []byte) []byte { return protofield.AppendUint(b, fieldPing, 1) }

// linkRequest is what a frame of calls and entries says. It is used again for the
// next frame.
type linkRequest struct {
	calls   []linkCall
	epoch   uint32
	entries []owner.Entries
	ping    bool

	// client is the client id of the call before: mostly it is the same again.
	client  string
	scratch []byte
}

// read takes a frame apart. The entries' ops are parts of data, and the slice of
// entries is new; the calls are good until the next read.
func (m *linkRequest) read(data []byte) error {
	clear(m.calls)
	m.calls, m.entries, m.epoch, m.ping = m.calls[:0], nil, 0, false
	for len(data) > 0 {
		f, err := protofield.Next(&data)
		if err != nil {
			return err
		}
		switch {
		case f.Num == fieldCalls && f.Typ == protowire.BytesType:
			c := linkCall{req: &owner.Request{}}
			if err := m.readCall(&c, f.B); err != nil {
				return err
			}
			m.calls = append(m.calls, c)
		case f.Num == fieldEpoch && f.Typ == protowire.VarintType:
			m.epoch = uint32(f.V)
		case f.Num == fieldEntries && f.Typ == protowire.BytesType:
			e, err := readEntries(f.B)
			if err != nil {
				return err
			}
			m.entries = append(m.entries, e)
		case f.Num == fieldPing && f.Typ == protowire.VarintType:
			m.ping = f.V != 0
		}
	}
	return nil
}

func (m *linkRequest) readCall(c *linkCall, body []byte) error {
	r := c.req
	var (
		key, request, tokens, ttls []byte
		keys                       [][]byte
	)
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		if err != nil {
			return err
		}
		if f.Typ == protowire.BytesType {
			switch f.Num {
			case 4:
				key = f.B
			case 6:
				if m.client != string(f.B) { // makes no string
					m.client = string(f.B)
				}
				r.ClientID = m.client
			case 7:
				request = f.B
			case 14:
				if r.Metadata, err = readMetadata(r.Metadata, f.B); err != nil {
					return err
				}
			case 15:
				r.Reason = string(f.B)
			case 16:
				keys = append(keys, f.B)
			case 17:
				tokens = f.B
			case 18:
				ttls = f.B
			}
			continue
		}
		if f.Typ != protowire.VarintType {
			continue
		}
		switch f.Num {
		case 1:
			c.id = f.V
		case 2:
			c.epoch = uint32(f.V)
		case 3:
			r.Kind = owner.Kind(f.V)
		case 5:
			r.Token = sharelock.Token(f.V)
		case 8:
			r.TTL = ns(int64(f.V))
		case 9:
			r.Wait = ns(int64(f.V))
		case 10:
			r.Mode = sharelock.Mode(f.V)
		case 11:
			r.Slots = uint32(f.V)
		case 12:
			r.Send = uint32(f.V)
		case 13:
			setCallFlags(r, uint32(f.V))
		case 19:
			r.Conn = uint32(f.V)
		case 20:
			r.MaxHold = ns(int64(f.V))
		}
	}
	// One string for both: a hold keeps them just as long.
	m.scratch = append(append(m.scratch[:0], key...), request...)
	both := string(m.scratch)
	r.Key, r.RequestID = both[:len(key)], both[len(key):]
	if len(keys) > 0 {
		r.Renewals = readRenewals(keys, tokens, ttls)
	}
	return nil
}

func readEntries(body []byte) (e owner.Entries, err error) {
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		if err != nil {
			return e, err
		}
		switch {
		case f.Num == 1 && f.Typ == protowire.VarintType:
			e.Partition = uint32(f.V)
		case f.Num == 2 && f.Typ == protowire.VarintType:
			e.First = f.V
		case f.Num == 3 && f.Typ == protowire.BytesType:
			e.Ops = f.B
		}
	}
	return e, nil
}

// appendLinkAnswer appends one answer to a LinkResponse.
func appendLinkAnswer(b []byte, id uint64, epoch uint32, a *owner.Answer) []byte {
	b, at := protofield.Open(b, fieldCalls)
	b = protofield.AppendUint(b, 1, id)
	b = protofield.AppendUint(b, 2, uint64(a.Send))
	outcome := uint64(a.Outcome)
	if a.Current {
		outcome |= flagCurrent
	}
	b = protofield.AppendUint(b, 3, outcome)
	holds := a.Holds
	if a.Err != nil {
		e := describe(a.Err)
		b = protofield.AppendUint(b, 4, uint64(e.number))
		b = protofield.AppendString(b, 5, e.Message)
		holds = e.Holds
		b = appendHolds(b, 6, holds)
		b = protofield.AppendUint(b, 8, uint64(uint32(e.Queue)))
		b = protofield.AppendUint(b, 9, uint64(epoch))
		b = protofield.AppendUint(b, 10, uint64(e.RetryAfter))
		b = protofield.AppendString(b, 11, e.Field)
		return protofield.Shut(b, at)
	}
	b = appendHolds(b, 6, holds)
	if a.Lock != nil {
		if lock, err := proto.Marshal(lockToProto(a.Lock)); err == nil { // it fails for text that is not UTF-8 alone
			b = protowire.AppendTag(b, 7, protowire.BytesType)
			b = protowire.AppendBytes(b, lock)
		}
	}
	b = protofield.AppendUint(b, 9, uint64(epoch))
	if len(a.Lost) > 0 {
		var lost int
		b, lost = protofield.Open(b, 12)
		for _, i := range a.Lost {
			b = protowire.AppendVarint(b, uint64(i))
		}
		b = protofield.Shut(b, lost)
	}
	b = protofield.AppendUint(b, 13, uint64(a.Position))
	return protofield.Shut(b, at)
}

func appendHolds(b []byte, num protowire.Number, holds []sharelock.Hold) []byte {
	for i := range holds {
		h := &holds[i]
		var at int
		b, at = protofield.Open(b, num)
		b = protofield.AppendUint(b, 1, uint64(h.Token))
		b = protofield.AppendString(b, 2, h.ClientID)
		b = protofield.AppendString(b, 3, h.RequestID)
		b = protofield.AppendUint(b, 4, uint64(h.Mode))
		b = protofield.AppendUint(b, 5, uint64(h.Slots))
		b = protofield.AppendUint(b, 6, uint64(h.TTL))
		b = protofield.AppendUint(b, 7, uint64(h.ExpiresIn))
		b = appendMetadata(b, 8, h.Metadata)
		b = protofield.AppendString(b, 9, h.Key)
		b = protofield.AppendUint(b, 10, uint64(h.MaxHold))
		b = protofield.AppendUint(b, 11, uint64(h.EndsIn))
		b = protofield.Shut(b, at)
	}
	return b
}

// appendLinkAcks appends the acknowledgements of an epoch to a LinkResponse.
func appendLinkAcks(b []byte, epoch uint32, acks []owner.Ack) []byte {
	b = protofield.AppendUint(b, fieldEpoch, uint64(epoch))
	for _, a := range acks {
		var at int
		b, at = protofield.Open(b, fieldEntries)
		b = protofield.AppendUint(b, 1, uint64(a.Partition))
		b = protofield.AppendUint(b, 2, a.Seq)
		if a.Gap {
			b = protofield.AppendUint(b, 3, 1)
		}
		b = protofield.Shut(b, at)
	}
	return b
}

// linkResponse is what a frame of answers and acks says. It is used again for the
// next frame.
type linkResponse struct {
	answers []linkAnswer
	epoch   uint32
	acks    []owner.Ack
	pong    bool
}

// linkAnswer is the answer to the call with an id.
type linkAnswer struct {
	id     uint64
	answer owner.Answer
}

// read takes a frame of the member with this name apart. The acks are a new slice;
// the answers are good until the next read.
func (m *linkResponse) read(data []byte, from string) error {
	clear(m.answers)
	m.answers, m.acks, m.epoch, m.pong = m.answers[:0], nil, 0, false
	for len(data) > 0 {
		f, err := protofield.Next(&data)
		if err != nil {
			return err
		}
		switch {
		case f.Num == fieldCalls && f.Typ == protowire.BytesType:
			m.answers = append(m.answers, linkAnswer{})
			if err := readAnswer(&m.answers[len(m.answers)-1], f.B, from); err != nil {
				return err
			}
		case f.Num == fieldEpoch && f.Typ == protowire.VarintType:
			m.epoch = uint32(f.V)
		case f.Num == fieldEntries && f.Typ == protowire.BytesType:
			a, err := readAck(f.B)
			if err != nil {
				return err
			}
			m.acks = append(m.acks, a)
		case f.Num == fieldPing && f.Typ == protowire.VarintType:
			m.pong = f.V != 0
		}
	}
	return nil
}

func readAck(body []byte) (a owner.Ack, err error) {
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		if err != nil {
			return a, err
		}
		if f.Typ != protowire.VarintType {
			continue
		}
		switch f.Num {
		case 1:
			a.Partition = uint32(f.V)
		case 2:
			a.Seq = f.V
		case 3:
			a.Gap = f.V != 0
		}
	}
	return a, nil
}

func readAnswer(into *linkAnswer, body []byte, from string) error {
	var (
		a      = &into.answer
		number uint32
		detail sharelock.Error
		holds  []sharelock.Hold
	)
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		if err != nil {
			return err
		}
		if f.Typ == protowire.BytesType {
			switch f.Num {
			case 5:
				detail.Message = string(f.B)
			case 6:
				holds = append(holds, sharelock.Hold{Node: from})
				if err := readHold(&holds[len(holds)-1], f.B); err != nil {
					return err
				}
			case 7:
				var lock peerv1.Lock
				if err := proto.Unmarshal(f.B, &lock); err != nil {
					return fmt.Errorf("%w: %w", protofield.ErrMalformed, err)
				}
				a.Lock = lockFromProto(&lock)
			case 11:
				detail.Field = string(f.B)
			case 12:
				for lost := f.B; len(lost) > 0; {
					v, n := protowire.ConsumeVarint(lost)
					if n < 0 {
						return protofield.ErrMalformed
					}
					a.Lost, lost = append(a.Lost, uint32(v)), lost[n:]
				}
			}
			continue
		}
		if f.Typ != protowire.VarintType {
			continue
		}
		switch f.Num {
		case 1:
			into.id = f.V
		case 2:
			a.Send = uint32(f.V)
		case 3:
			a.Outcome, a.Current = owner.Outcome(f.V&^flagCurrent), f.V&flagCurrent != 0
		case 4:
			number = uint32(f.V)
		case 8:
			detail.Queue = int(uint32(f.V))
		case 10:
			detail.RetryAfter = ns(int64(f.V))
		case 13:
			a.Position = uint32(f.V)
		}
	}
	if number == 0 && a.Outcome != owner.Failed {
		a.Holds = holds
		return nil
	}
	detail.Err, detail.Holds = errorOf(number), holds
	a.Err = &detail
	return nil
}

func readHold(h *sharelock.Hold, body []byte) error {
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		if err != nil {
			return err
		}
		if f.Typ == protowire.BytesType {
			switch f.Num {
			case 2:
				h.ClientID = string(f.B)
			case 3:
				h.RequestID = string(f.B)
			case 8:
				if h.Metadata, err = readMetadata(h.Metadata, f.B); err != nil {
					return err
				}
			case 9:
				h.Key = string(f.B)
			}
			continue
		}
		if f.Typ != protowire.VarintType {
			continue
		}
		switch f.Num {
		case 1:
			h.Token = sharelock.Token(f.V)
		case 4:
			h.Mode = sharelock.Mode(f.V)
		case 5:
			h.Slots = uint32(f.V)
		case 6:
			h.TTL = ns(int64(f.V))
		case 7:
			h.ExpiresIn = ns(int64(f.V))
		case 10:
			h.MaxHold = ns(int64(f.V))
		case 11:
			h.EndsIn = ns(int64(f.V))
		}
	}
	return nil
}

func readMetadata(m map[string]string, body []byte) (map[string]string, error) {
	var k, v string
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		if err != nil {
			return m, err
		}
		switch {
		case f.Num == 1 && f.Typ == protowire.BytesType:
			k = string(f.B)
		case f.Num == 2 && f.Typ == protowire.BytesType:
			v = string(f.B)
		}
	}
	if m == nil {
		m = map[string]string{}
	}
	m[k] = v
	return m, nil
}

func appendMetadata(b []byte, num protowire.Number, m map[string]string) []byte {
	for k, v := range m {
		var at int
		b, at = protofield.Open(b, num)
		b = protofield.AppendString(b, 1, k)
		b = protofield.AppendString(b, 2, v)
		b = protofield.Shut(b, at)
	}
	return b
}
