package link

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/protofield"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// flagCurrent, in an answer's outcome, is the answer to a check.
const flagCurrent = 1 << 8

// appendReply appends one answer to a LinkResponse.
func appendReply(b []byte, id uint64, epoch uint32, a *owner.Answer) []byte {
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
		b = protofield.AppendUint(b, 8, uint64(intconv.Uint32(e.Queue)))
		b = protofield.AppendUint(b, 9, uint64(epoch))
		b = protofield.AppendInt(b, 10, e.RetryAfter)
		b = protofield.AppendString(b, 11, e.Field)
		return protofield.Shut(b, at)
	}
	b = appendHolds(b, 6, holds)
	if a.Lock != nil {
		if lock, err := proto.Marshal(LockToProto(a.Lock)); err == nil { // it fails for text that is not UTF-8 alone
			b = protowire.AppendTag(b, 7, protowire.BytesType)
			b = protowire.AppendBytes(b, lock)
		}
	}
	b = protofield.AppendUint(b, 9, uint64(epoch))
	lost, denied := a.Unrenewed.Lists()
	if len(lost) > 0 {
		b = appendIndexes(b, 12, lost)
	}
	b = protofield.AppendUint(b, 13, uint64(a.Position))
	if len(denied) > 0 {
		b = appendIndexes(b, 14, denied)
	}
	return protofield.Shut(b, at)
}

func appendIndexes(b []byte, num protowire.Number, list []uint32) []byte {
	b, at := protofield.Open(b, num)
	for _, i := range list {
		b = protowire.AppendVarint(b, uint64(i))
	}
	return protofield.Shut(b, at)
}

// readIndexes appends what appendIndexes has written to a list.
// unrenewed returns the Unrenewed of an answer, which it makes if need be.
func unrenewed(a *owner.Answer) *owner.Unrenewed {
	if a.Unrenewed == nil {
		a.Unrenewed = &owner.Unrenewed{}
	}
	return a.Unrenewed
}

func readIndexes(list []uint32, b []byte) ([]uint32, error) {
	for len(b) > 0 {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return nil, protofield.ErrMalformed
		}
		list, b = append(list, uint32(v&math.MaxUint32)), b[n:]
	}
	return list, nil
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
		b = protofield.AppendInt(b, 6, h.TTL)
		b = protofield.AppendInt(b, 7, h.ExpiresIn)
		b = appendMetadata(b, 8, h.Metadata)
		b = protofield.AppendString(b, 9, h.Key)
		b = protofield.AppendInt(b, 10, h.MaxHold)
		b = protofield.AppendInt(b, 11, h.EndsIn)
		b = protofield.AppendString(b, 12, h.Principal)
		b = protofield.Shut(b, at)
	}
	return b
}

// appendAcks appends the acknowledgements of an epoch to a LinkResponse.
func appendAcks(b []byte, epoch uint32, acks []owner.Ack) []byte {
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

// responseFrame is what a frame of answers and acks says. It is used again for the
// next frame.
type responseFrame struct {
	replies []reply
	epoch   uint32
	acks    []owner.Ack
	pong    bool
}

// reply is the answer to the forward with an id.
type reply struct {
	id     uint64
	answer owner.Answer
}

// read takes a frame of the member with this name apart. The acks are a new slice;
// the answers are good until the next read.
func (m *responseFrame) read(data []byte, from string) error {
	clear(m.replies)
	m.replies, m.acks, m.epoch, m.pong = m.replies[:0], nil, 0, false
	for len(data) > 0 {
		f, err := protofield.Next(&data)
		if err != nil {
			return err
		}
		switch {
		case f.Num == fieldCalls && f.Typ == protowire.BytesType:
			m.replies = append(m.replies, reply{})
			if err := readReply(&m.replies[len(m.replies)-1], f.B, from); err != nil {
				return err
			}
		case f.Num == fieldEpoch && f.Typ == protowire.VarintType:
			m.epoch = f.Uint32()
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
			a.Partition = f.Uint32()
		case 2:
			a.Seq = f.V
		case 3:
			a.Gap = f.V != 0
		}
	}
	return a, nil
}

func readReply(into *reply, body []byte, from string) error {
	var (
		a      = &into.answer
		code   uint32
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
				a.Lock = LockFromProto(&lock)
			case 11:
				detail.Field = string(f.B)
			case 12:
				u := unrenewed(a)
				if u.Lost, err = readIndexes(u.Lost, f.B); err != nil {
					return err
				}
			case 14:
				u := unrenewed(a)
				if u.Denied, err = readIndexes(u.Denied, f.B); err != nil {
					return err
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
			a.Send = f.Uint32()
		case 3:
			a.Outcome, a.Current = owner.Outcome(intconv.Uint8(f.V&^flagCurrent)), f.V&flagCurrent != 0
		case 4:
			code = f.Uint32()
		case 8:
			detail.Queue = int(f.Uint32())
		case 10:
			detail.RetryAfter = f.Nanoseconds()
		case 13:
			a.Position = f.Uint32()
		}
	}
	if code == 0 && a.Outcome != owner.Failed {
		a.Holds = holds
		return nil
	}
	detail.Err, detail.Holds = errorOf(code), holds
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
			case 12:
				h.Principal = string(f.B)
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
			h.Mode = sharelock.Mode(f.Uint8())
		case 5:
			h.Slots = f.Uint32()
		case 6:
			h.TTL = f.Nanoseconds()
		case 7:
			h.ExpiresIn = f.Nanoseconds()
		case 10:
			h.MaxHold = f.Nanoseconds()
		case 11:
			h.EndsIn = f.Nanoseconds()
		}
	}
	return nil
}
