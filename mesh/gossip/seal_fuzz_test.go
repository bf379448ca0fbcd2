package gossip

import (
	"slices"
	"testing"
)

// FuzzSealing checks that the sealing of an accepted stream does not depend on the pieces in which
// the stream's beginning arrives, and that it keeps no more of the stream than the label and one
// byte.
func FuzzSealing(f *testing.F) {
	s := newSealer("blue", nil)
	// Each seed has an array of its own: appending to the header writes into its spare capacity.
	f.Add(slices.Concat(s.header, []byte{streamSealed}), uint8(1))
	f.Add(slices.Concat(s.header, []byte{0}), uint8(3))
	f.Add([]byte{labelHeader, 255}, uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		want := s.labelled(data) && len(data) > len(s.header) && data[len(s.header)] == streamSealed
		whole, pieces := s.accepted(), s.accepted()
		whole.observe(data)
		// Only the beginning comes in pieces. If all of it did, each longer input would run the loop
		// more often, count as new coverage, and be minimized at length.
		rest := data
		for len(rest) > 0 && len(data)-len(rest) <= len(s.header) {
			n := min(max(int(size), 1), len(rest))
			pieces.observe(rest[:n])
			rest = rest[n:]
		}
		pieces.observe(rest)
		if whole.sealed != want || pieces.sealed != want {
			t.Fatalf("%x is encrypted: %t, in pieces %t, want %t", data, whole.sealed, pieces.sealed, want)
		}
		if len(whole.head) > len(s.header)+1 || len(pieces.head) > len(s.header)+1 {
			t.Fatalf("%d and %d bytes are kept", len(whole.head), len(pieces.head))
		}
	})
}
