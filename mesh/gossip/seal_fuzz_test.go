package gossip

import (
	"testing"
)

// FuzzSealing checks that the sealing of an accepted stream does not depend on the pieces in which
// the stream's beginning arrives, and that it keeps no more of the stream than the label and one
// byte.
func FuzzSealing(f *testing.F) {
	s := newSealer("blue", nil)
	f.Add(append(s.header, streamSealed), uint8(1))
	f.Add(append(s.header, 0), uint8(3))
	f.Add([]byte{labelHeader, 255}, uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		want := s.labelled(data) && len(data) > len(s.header) && data[len(s.header)] == streamSealed
		whole, pieces := s.accepted(), s.accepted()
		whole.observe(data)
		for rest := data; len(rest) > 0; {
			n := min(max(int(size), 1), len(rest))
			pieces.observe(rest[:n])
			rest = rest[n:]
		}
		if whole.sealed != want || pieces.sealed != want {
			t.Fatalf("%x is encrypted: %t, in pieces %t, want %t", data, whole.sealed, pieces.sealed, want)
		}
		if len(whole.head) > len(s.header)+1 || len(pieces.head) > len(s.header)+1 {
			t.Fatalf("%d and %d bytes are kept", len(whole.head), len(pieces.head))
		}
	})
}
