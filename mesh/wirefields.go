package mesh

import "google.golang.org/protobuf/encoding/protowire"

// The fields that the messages of a link are made of, see linkwire.go.

// linkField is one field of a message.
type linkField struct {
	num protowire.Number
	typ protowire.Type
	v   uint64
	b   []byte
}

// takeField takes the next field off a message; one that is no number and no bytes
// has type -1.
func takeField(rest *[]byte) (linkField, error) {
	num, typ, n := protowire.ConsumeTag(*rest)
	if n < 0 {
		return linkField{}, errFrame
	}
	f := linkField{num: num, typ: typ}
	b := (*rest)[n:]
	switch typ {
	case protowire.VarintType:
		f.v, n = protowire.ConsumeVarint(b)
	case protowire.BytesType:
		f.b, n = protowire.ConsumeBytes(b)
	default:
		f.typ = -1
		n = protowire.ConsumeFieldValue(num, typ, b)
	}
	if n < 0 {
		return linkField{}, errFrame
	}
	*rest = b[n:]
	return f, nil
}

func readMetadata(m map[string]string, body []byte) (map[string]string, error) {
	var k, v string
	for len(body) > 0 {
		f, err := takeField(&body)
		if err != nil {
			return m, err
		}
		switch {
		case f.num == 1 && f.typ == protowire.BytesType:
			k = string(f.b)
		case f.num == 2 && f.typ == protowire.BytesType:
			v = string(f.b)
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
		b, at = openMessage(b, num)
		b = appendString(b, 1, k)
		b = appendString(b, 2, v)
		b = shutMessage(b, at)
	}
	return b
}

// openMessage begins a message within a message: its tag, and room for a length of
// one byte. shutMessage puts the length in, and makes more room if it needs it.
func openMessage(b []byte, num protowire.Number) (rest []byte, at int) {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return append(b, 0), len(b)
}

func shutMessage(b []byte, at int) []byte {
	n := len(b) - at - 1
	if n < 1<<7 {
		b[at] = byte(n)
		return b
	}
	more := protowire.SizeVarint(uint64(n)) - 1
	b = append(b, make([]byte, more)...)
	copy(b[at+1+more:], b[at+1:])
	protowire.AppendVarint(b[:at], uint64(n))
	return b
}

func appendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

func appendString(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendString(b, s)
}
