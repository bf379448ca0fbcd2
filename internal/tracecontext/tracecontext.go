// Package tracecontext has the context of a trace (W3C Trace Context) as messages carry it: the
// trace to which a request belongs, and the parent of its spans. It uses no tracing library; package
// internal/trace creates the spans.
package tracecontext

import "encoding/hex"

// Size is the number of bytes that a [Parent] takes in a message.
const Size = 1 + 16 + 8

// Sampled is the flag of a trace that is recorded.
const Sampled = 1

// Parent is the parent of other spans. A nil *Parent means that the request is not traced. It must
// not be changed.
type Parent struct {
	Flags byte
	Trace [16]byte
	Span  [8]byte
}

// Append appends the parent to a message: the flags, the trace, the span.
func (p *Parent) Append(b []byte) []byte {
	return append(append(append(b, p.Flags), p.Trace[:]...), p.Span[:]...)
}

// Read returns the parent in a message, or nil if b is not a valid one. A request can be served
// without its trace, so an invalid one is not reported.
func Read(b []byte) *Parent {
	if len(b) != Size {
		return nil
	}
	p := Parent{Flags: b[0], Trace: [16]byte(b[1:17]), Span: [8]byte(b[17:])}
	if p.Trace == ([16]byte{}) || p.Span == ([8]byte{}) {
		return nil
	}
	return &p
}

// Header is the name of the header of HTTP and gRPC that carries a parent.
const Header = "traceparent"

// A header is a version, the trace, the span and the flags, in lower case, with dashes between them.
// Later versions may have more after another dash.
const (
	headerSize = 2 + 1 + 32 + 1 + 16 + 1 + 2
	version    = "00"
	noVersion  = "ff"
)

// String returns the parent as a header.
func (p *Parent) String() string {
	b := make([]byte, 0, headerSize)
	b = hex.AppendEncode(append(b, version+"-"...), p.Trace[:])
	b = hex.AppendEncode(append(b, '-'), p.Span[:])
	return string(hex.AppendEncode(append(b, '-'), []byte{p.Flags}))
}

// Parse returns the parent in a header, or nil if the header is invalid.
func Parse(s string) *Parent {
	if len(s) < headerSize || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == noVersion {
		return nil
	}
	if len(s) > headerSize && (s[:2] == version || s[headerSize] != '-') {
		return nil
	}
	var first [1]byte
	var b [Size]byte
	if !decode(first[:], s[:2]) || !decode(b[:1], s[53:headerSize]) || !decode(b[1:17], s[3:35]) || !decode(b[17:], s[36:52]) {
		return nil
	}
	return Read(b[:])
}

// decode decodes hexadecimal digits in lower case.
func decode(to []byte, s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	_, err := hex.Decode(to, []byte(s))
	return err == nil
}
