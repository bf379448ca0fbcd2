package link

import (
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/protofield"
	"github.com/sgkandale/sharelock/internal/tracecontext"
	"github.com/sgkandale/sharelock/owner"
)

// The messages of a link are written and read by hand: the same bytes as the generated code makes
// of a LinkRequest and a LinkResponse, without an object and its reflection for every request and
// every acknowledgement. TestLinkWire* compares the two.

// Field numbers of LinkRequest and LinkResponse.
const (
	fieldCalls   = 1 // or answers
	fieldEpoch   = 2 // of what follows
	fieldEntries = 3 // or acks
	fieldPing    = 4 // or pong
)

// forward is a request on its way to its owner.
type forward struct {
	id    uint64
	epoch uint32
	req   *owner.Request
	// principals is set if the view has principals, and traces if it has traces (W1). Otherwise they
	// are not sent.
	principals, traces bool
}

// appendForward appends one request to a LinkRequest.
func appendForward(b []byte, c *forward) []byte {
	r := c.req
	b, at := protofield.Open(b, fieldCalls)
	b = protofield.AppendUint(b, 1, c.id)
	b = protofield.AppendUint(b, 2, uint64(c.epoch))
	b = protofield.AppendUint(b, 3, uint64(r.Kind))
	b = protofield.AppendString(b, 4, r.Key)
	b = protofield.AppendUint(b, 5, uint64(r.Token))
	b = protofield.AppendString(b, 6, r.ClientID)
	b = protofield.AppendString(b, 7, r.RequestID)
	b = protofield.AppendInt(b, 8, r.TTL)
	b = protofield.AppendInt(b, 9, r.Wait)
	b = protofield.AppendUint(b, 10, uint64(r.Mode))
	b = protofield.AppendUint(b, 11, uint64(r.Slots))
	b = protofield.AppendUint(b, 12, uint64(r.Send))
	b = protofield.AppendUint(b, 13, uint64(c.flags()))
	b = appendMetadata(b, 14, r.Metadata)
	b = protofield.AppendString(b, 15, r.Reason)
	if len(r.Renewals) > 0 {
		b = appendRenewals(b, r.Renewals, c.principals)
	}
	b = protofield.AppendUint(b, 19, uint64(r.Conn))
	b = protofield.AppendInt(b, 20, r.MaxHold)
	if c.principals {
		b = protofield.AppendString(b, 21, r.Principal)
	}
	if c.traces && r.Trace != nil {
		b = appendTrace(b, 23, r.Trace)
	}
	return protofield.Shut(b, at)
}

// appendRenewals appends the holds of a renewal of many to a Call: three lists, and a fourth if one of
// them has a principal.
func appendRenewals(b []byte, list []*owner.Renewal, principals bool) []byte {
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
		b = protowire.AppendVarint(b, intconv.Bits(n.TTL))
	}
	b = protofield.Shut(b, at)
	if !principals || !slices.ContainsFunc(list, func(n *owner.Renewal) bool { return n.Principal != "" }) {
		return b
	}
	for _, n := range list {
		b = protowire.AppendTag(b, 22, protowire.BytesType)
		b = protowire.AppendString(b, n.Principal)
	}
	return b
}

// readRenewals puts the lists together; it makes no more than all of them have. It fails if there are
// principals of some renewals alone: then it is not known whose the others are.
func readRenewals(keys [][]byte, tokens, ttls []byte, principals []string) ([]*owner.Renewal, error) {
	if len(principals) > 0 && len(principals) != len(keys) {
		return nil, protofield.ErrMalformed
	}
	var list []*owner.Renewal
	all := make([]owner.Renewal, len(keys))
	for i, key := range keys {
		token, n := protowire.ConsumeVarint(tokens)
		ttl, m := protowire.ConsumeVarint(ttls)
		if n < 0 || m < 0 {
			break
		}
		tokens, ttls = tokens[n:], ttls[m:]
		all[i] = owner.Renewal{Key: string(key), Token: sharelock.Token(token), TTL: time.Duration(intconv.Signed(ttl))}
		if len(principals) > 0 {
			all[i].Principal = principals[i]
		}
		list = append(list, &all[i])
	}
	return list, nil
}

// appendEntries appends the entries of an epoch to a LinkRequest.
func appendEntries(b []byte, epoch uint32, entries []owner.Entries) []byte {
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
		for i := range e.Traces {
			b = appendTrace(b, 4, &e.Traces[i])
		}
		b = protofield.Shut(b, at)
	}
	return b
}

// appendPing appends a ping to a LinkRequest, or a pong to a LinkResponse.
func appendPing(b []byte) []byte { return protofield.AppendUint(b, fieldPing, 1) }

// requestFrame is what a frame of requests and entries says. It is used again for the
// next frame.
type requestFrame struct {
	forwards []forward
	epoch    uint32
	entries  []owner.Entries
	ping     bool

	// client is the client id of the request before: mostly it is the same again.
	client string
	// principal is that of the request, or the renewal, before.
	principal string
	scratch   []byte
}

// read takes a frame apart. The entries' ops are parts of data, and the slice of
// entries is new; the forwards are good until the next read.
func (m *requestFrame) read(data []byte) error {
	clear(m.forwards)
	m.forwards, m.entries, m.epoch, m.ping = m.forwards[:0], nil, 0, false
	for len(data) > 0 {
		f, err := protofield.Next(&data)
		if err != nil {
			return err
		}
		switch {
		case f.Num == fieldCalls && f.Typ == protowire.BytesType:
			c := forward{req: &owner.Request{}}
			if err := m.readForward(&c, f.B); err != nil {
				return err
			}
			m.forwards = append(m.forwards, c)
		case f.Num == fieldEpoch && f.Typ == protowire.VarintType:
			m.epoch = f.Uint32()
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

func (m *requestFrame) readForward(c *forward, body []byte) error {
	r := c.req
	var (
		key, request, tokens, ttls []byte
		keys                       [][]byte
		principals                 []string
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
			case 21:
				r.Principal = m.principalOf(f.B)
			case 22:
				principals = append(principals, m.principalOf(f.B))
			case 23:
				r.Trace = tracecontext.Read(f.B)
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
			c.epoch = f.Uint32()
		case 3:
			r.Kind = owner.Kind(f.Uint8())
		case 5:
			r.Token = sharelock.Token(f.V)
		case 8:
			r.TTL = f.Nanoseconds()
		case 9:
			r.Wait = f.Nanoseconds()
		case 10:
			r.Mode = sharelock.Mode(f.Uint8())
		case 11:
			r.Slots = f.Uint32()
		case 12:
			r.Send = f.Uint32()
		case 13:
			setFlags(r, f.Uint32())
		case 19:
			r.Conn = f.Uint32()
		case 20:
			r.MaxHold = f.Nanoseconds()
		}
	}
	// One string for both: a hold keeps them just as long.
	m.scratch = append(append(m.scratch[:0], key...), request...)
	both := string(m.scratch)
	r.Key, r.RequestID = both[:len(key)], both[len(key):]
	if len(keys) > 0 {
		var err error
		r.Renewals, err = readRenewals(keys, tokens, ttls, principals)
		return err
	}
	return nil
}

// principalOf returns a principal as a string, which is shared while it stays the same.
func (m *requestFrame) principalOf(b []byte) string {
	if m.principal != string(b) { // makes no string
		m.principal = string(b)
	}
	return m.principal
}

func readEntries(body []byte) (e owner.Entries, err error) {
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		if err != nil {
			return e, err
		}
		switch {
		case f.Num == 1 && f.Typ == protowire.VarintType:
			e.Partition = f.Uint32()
		case f.Num == 2 && f.Typ == protowire.VarintType:
			e.First = f.V
		case f.Num == 3 && f.Typ == protowire.BytesType:
			e.Ops = f.B
		case f.Num == 4 && f.Typ == protowire.BytesType && len(e.Traces) < owner.MaxEntryTraces:
			if p := tracecontext.Read(f.B); p != nil {
				e.Traces = append(e.Traces, *p)
			}
		}
	}
	return e, nil
}

// appendTrace appends the parent of spans.
func appendTrace(b []byte, num protowire.Number, p *tracecontext.Parent) []byte {
	b, at := protofield.Open(b, num)
	return protofield.Shut(p.Append(b), at)
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

// Flags of a request between members.
const (
	flagOwnID = 1 << iota
	flagSentOnce
	flagDrop
	flagTell
	// flagMetadata: a renewal has metadata, which may be empty.
	flagMetadata
	// flagAnyHold is sent with principals only.
	flagAnyHold
)

// flags returns the fields of a request that are one bit each.
func (c *forward) flags() (flags uint32) {
	r := c.req
	if r.OwnID {
		flags |= flagOwnID
	}
	if r.SentOnce {
		flags |= flagSentOnce
	}
	if r.Drop {
		flags |= flagDrop
	}
	if r.Tell {
		flags |= flagTell
	}
	if r.Kind == owner.Renew && r.Metadata != nil {
		flags |= flagMetadata
	}
	if r.AnyHold && c.principals {
		flags |= flagAnyHold
	}
	return flags
}

func setFlags(r *owner.Request, flags uint32) {
	r.OwnID, r.SentOnce, r.Drop = flags&flagOwnID != 0, flags&flagSentOnce != 0, flags&flagDrop != 0
	r.Tell, r.AnyHold = flags&flagTell != 0, flags&flagAnyHold != 0
	if flags&flagMetadata != 0 && r.Metadata == nil {
		r.Metadata = map[string]string{}
	}
}
