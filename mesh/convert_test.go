package mesh

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// The bases of a sync arrive whole, however large, in messages that are small.
func TestBasesSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []owner.Base
		for p := range rapid.IntRange(0, 6).Draw(t, "bases") {
			b := owner.Base{Held: owner.Held{Partition: uint32(p), Have: 3, Seq: 4}, Log: 5}
			if n := rapid.SampledFrom([]int{0, 1, 100, copyPart, copyPart + 1, 3*copyPart + 7}).Draw(t, "size"); n > 0 {
				b.Data = bytes.Repeat([]byte{byte(p + 1)}, n)
			}
			want = append(want, b)
		}
		var got []owner.Base
		var part []byte
		for _, m := range basesToProto(7, want) {
			m = overTheWire(t, m, &peerv1.SyncRequest{})
			size := 0
			for _, b := range m.GetBases() {
				size += len(b.GetData())
			}
			if size > 3*copyPart || m.GetEpoch() != 7 {
				t.Errorf("a message of %d bytes for epoch %d", size, m.GetEpoch())
			}
			var whole []owner.Base
			whole, part = basesFrom(m.GetBases(), part)
			got = append(got, whole...)
		}
		if len(got) != len(want) || part != nil {
			t.Fatalf("%d bases arrived and %d bytes of another, want %d", len(got), len(part), len(want))
		}
		for i := range want {
			if got[i].Held != want[i].Held || got[i].Log != want[i].Log || !bytes.Equal(got[i].Data, want[i].Data) || (got[i].Data == nil) != (want[i].Data == nil) {
				t.Errorf("base %d arrived as %+v", i, got[i].Held)
			}
		}
	})
}
