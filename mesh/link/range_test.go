package link

import (
	"math"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/protofield"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// tooLarge are numbers whose lowest byte is 1, which is a kind, a mode and an outcome. The bit above that byte
// is a flag of an outcome.
var tooLarge = []uint64{1<<9 + 1, 1<<32 + 1, 1<<63 + 1}

// A kind, a mode or an outcome that does not fit is none, and is not taken for another one: an owner refuses
// it as it refuses every number that it does not know.
func TestNumbersOutOfRange(t *testing.T) {
	for _, n := range tooLarge {
		b, at := protofield.Open(nil, fieldCalls)
		b = protofield.AppendUint(protofield.AppendUint(b, 3, n), 10, n)
		var request requestFrame
		if err := request.read(protofield.Shut(b, at)); err != nil {
			t.Fatal(err)
		}
		if r := request.forwards[0].req; r.Kind != math.MaxUint8 || r.Mode != math.MaxUint8 {
			t.Errorf("%#x arrives as kind %d and mode %d", n, r.Kind, r.Mode)
		}

		b, at = protofield.Open(nil, fieldCalls)
		b = protofield.AppendUint(b, 3, n)
		var hold int
		b, hold = protofield.Open(b, 6)
		b = protofield.Shut(protofield.AppendUint(b, 4, n), hold)
		var response responseFrame
		if err := response.read(protofield.Shut(b, at), "b"); err != nil {
			t.Fatal(err)
		}
		a := response.replies[0].answer
		if a.Outcome == owner.Done || a.Outcome == owner.Failed || a.Outcome == owner.Queued || a.Outcome == owner.Retry {
			t.Errorf("%#x arrives as outcome %d", n, a.Outcome)
		}
		if a.Holds[0].Mode != math.MaxUint8 {
			t.Errorf("%#x arrives as mode %d of a hold", n, a.Holds[0].Mode)
		}
	}
	const n = 1<<8 + uint32(sharelock.Shared)
	l := LockFromProto(&peerv1.Lock{Holds: []*peerv1.Hold{{Mode: n}}, Waiters: []*peerv1.Waiter{{Mode: n}}})
	if l.Holds[0].Mode != math.MaxUint8 || l.Waiters[0].Mode != math.MaxUint8 {
		t.Errorf("%#x is mode %d of a hold and %d of a waiter", n, l.Holds[0].Mode, l.Waiters[0].Mode)
	}
}

// A TTL beyond the range of a duration arrives negative, which an owner refuses.
func TestSpansOutOfRange(t *testing.T) {
	b, at := protofield.Open(nil, fieldCalls)
	b = protowire.AppendTag(b, 16, protowire.BytesType)
	b = protowire.AppendString(b, "k")
	var list int
	b, list = protofield.Open(b, 17)
	b, list = protofield.Open(protofield.Shut(protowire.AppendVarint(b, 1), list), 18)
	b = protofield.Shut(protowire.AppendVarint(b, math.MaxUint64), list)
	b = protofield.AppendUint(b, 8, math.MaxUint64)
	var m requestFrame
	if err := m.read(protofield.Shut(b, at)); err != nil {
		t.Fatal(err)
	}
	if r := m.forwards[0].req; r.TTL != -1 || r.Renewals[0].TTL != -1 {
		t.Errorf("the spans arrive as %v and %v, want them negative", r.TTL, r.Renewals[0].TTL)
	}
}
