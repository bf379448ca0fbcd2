package machine

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/machine/finished"
	"github.com/sgkandale/sharelock/owner/ops"
)

// bigMachine is a copy of n claims and n finished ids: keys that are alone, a semaphore,
// and a queue, with metadata here and there.
func bigMachine(t testing.TB, n int) *Machine {
	m := New(17, n)
	token := sharelock.MakeToken(7, 0)
	add := func(op ops.Op) {
		op.ClientID, op.TTL, op.Conn = "client", time.Minute, uint32(n)
		if op.Kind == ops.Grant {
			token++
			op.Token = token
		}
		if err := m.Apply(0, &op); err != nil {
			t.Fatal(err)
		}
	}
	add(ops.Op{Kind: ops.Grant, Key: "queue", RequestID: "first"})
	for i := range n {
		id := fmt.Sprint("request-", i)
		switch i % 4 {
		case 0:
			add(ops.Op{Kind: ops.Grant, Key: fmt.Sprint("key-", i), RequestID: id, Metadata: map[string]string{"a": strings.Repeat("b", i%sharelock.MaxMetadataBytes)}})
		case 1:
			add(ops.Op{Kind: ops.Grant, Key: fmt.Sprint("key-", i), RequestID: id})
		case 2:
			add(ops.Op{Kind: ops.Grant, Key: "slots", RequestID: id, Slots: sharelock.MaxSlots})
		case 3:
			add(ops.Op{Kind: ops.Enqueue, Key: "queue", RequestID: id})
		}
		rememberFinished(m, i%2, "over", id, time.Duration(i)*time.Microsecond+time.Second)
	}
	return m
}

// A copy travels in pieces of whole records, none of more than a step of a shard's turn
// may touch, and is the same at its end. Each piece can be read again.
func TestPieces(t *testing.T) {
	m := bigMachine(t, 10_000)
	d := NewAssembler(17, 0)
	var at []byte
	for last := false; !last; {
		var piece, next []byte
		var err error
		if piece, next, last, err = m.Piece(0, at, nil); err != nil {
			t.Fatal(err)
		}
		again, next2, last2, err := m.Piece(0, at, []byte("before"))
		if err != nil || !bytes.Equal(again, append([]byte("before"), piece...)) || !bytes.Equal(next, next2) || last != last2 {
			t.Fatal("a piece that is read again differs")
		}
		if len(piece) > StepBytes {
			t.Errorf("a piece of %d bytes", len(piece))
		}
		before := d.claims + uint64(d.m.finished.Len())
		if err := d.Add(0, piece); err != nil {
			t.Fatal(err)
		}
		if n := d.claims + uint64(d.m.finished.Len()) - before; n > StepEntries {
			t.Errorf("a piece of %d records", n)
		}
		at = next
	}
	copied, err := d.Machine()
	if err != nil {
		t.Fatal(err)
	}
	if err := copied.Check(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Encode(0), copied.Encode(0)) {
		t.Error("the copy differs")
	}
}

// Ids that are forgotten while a copy travels are not in it; nothing else is missing or
// there twice.
func TestPiecesWhileIDsAreForgotten(t *testing.T) {
	m := bigMachine(t, 5000)
	d := NewAssembler(17, 0)
	var at []byte
	now := time.Second
	for last := false; !last; {
		var piece []byte
		var err error
		if piece, at, last, err = m.Piece(now, at, nil); err != nil {
			t.Fatal(err)
		}
		if err := d.Add(now, piece); err != nil {
			t.Fatal(err)
		}
		now += 200 * time.Microsecond
		m.Tick(now, new(Out))
	}
	copied, err := d.Machine()
	if err != nil {
		t.Fatal(err)
	}
	m.finished.Forget(now, 1<<30, func(finished.ID) {})
	copied.finished.Forget(now, 1<<30, func(finished.ID) {})
	for _, q := range finished.Queues {
		for number, o := range m.finished.From(q, 0) {
			if !copied.finished.Knows(&o.Digest) {
				t.Fatalf("id %d of queue %d is missing", number, q)
			}
		}
	}
	if copied.keys.claims.Used() != m.keys.claims.Used() {
		t.Errorf("%d claims, want %d", copied.keys.claims.Used(), m.keys.claims.Used())
	}
}

// A position comes from another member: whatever it says, nothing but whole records of
// this copy comes out.
func TestBadPositions(t *testing.T) {
	m := bigMachine(t, 100)
	for _, p := range []position{
		{phase: recordBegin},
		{phase: recordEnd + 1},
		{phase: recordClaim, claim: 1, inside: 1 << 20},
		{phase: recordClaim, claim: 1, inside: m.keys.get("key-4").sole.id},
		{phase: recordClaim, claim: 1, inside: m.keys.get("slots").contended.holds.first.claim.id},
	} {
		if _, _, _, err := m.Piece(0, p.append(nil), nil); !errors.Is(err, ops.ErrMalformed) {
			t.Errorf("%+v: error %v", p, err)
		}
	}
	for _, p := range []position{{phase: recordClaim}, {phase: recordClaim, claim: 1 << 31}, {phase: recordFinished, finished: 12345}, {phase: recordEnd, claim: 7}} {
		if _, _, _, err := m.Piece(0, p.append(nil), nil); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if _, _, last, err := New(17, 0).Piece(0, position{phase: recordClaim}.append(nil), nil); err != nil || !last {
		t.Errorf("an empty copy: last %t, error %v", last, err)
	}
	if _, _, _, err := m.Piece(0, []byte{recordClaim}, nil); !errors.Is(err, ops.ErrMalformed) {
		t.Errorf("a position that is cut off: error %v", err)
	}
}

// FuzzPosition: a position is an error or a place in the copy.
func FuzzPosition(f *testing.F) {
	m := bigMachine(f, 3000)
	for at, last := []byte(nil), false; !last; {
		f.Add(at)
		_, at, last, _ = m.Piece(0, at, nil)
	}
	f.Fuzz(func(t *testing.T, at []byte) {
		for pieces := 0; ; pieces++ {
			piece, next, last, err := m.Piece(0, at, nil)
			if err != nil && !errors.Is(err, ops.ErrMalformed) {
				t.Fatal(err)
			}
			if err != nil || last {
				return
			}
			if len(piece) > StepBytes || pieces > 100 {
				t.Fatalf("piece %d of %d bytes", pieces, len(piece))
			}
			at = next
		}
	})
}

// FuzzPieces: pieces of a copy in any order, with anything in between, give an error or
// the copy.
func FuzzPieces(f *testing.F) {
	m := bigMachine(f, 2000)
	pieces := m.pieces(0)
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 0, byte(0))
	f.Fuzz(func(t *testing.T, order []byte, at int, xor byte) {
		d := NewAssembler(17, 100)
		for i, n := range order[:min(len(order), 20)] {
			piece := pieces[int(n)%len(pieces)]
			if i == at && xor != 0 {
				piece = slices.Clone(piece)
				piece[at%len(piece)] ^= xor
			}
			if err := d.Add(0, piece); err != nil {
				if _, again := d.Machine(); !errors.Is(err, ops.ErrMalformed) || !errors.Is(again, ops.ErrMalformed) {
					t.Fatalf("errors %v and %v", err, again)
				}
				return
			}
		}
		if got, err := d.Machine(); err == nil {
			if err := got.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A copy knows that the state before was lost, also when the quarantine was over before it was copied,
// until something is decided (section 4.3).
func TestBeganLost(t *testing.T) {
	lost := New(17, 10)
	lost.Quarantine(0, time.Second)
	copied := lost
	for range 3 { // a copy of a copy, too
		if !copied.BeganLost() {
			t.Fatal("the copy does not know that the state before was lost")
		}
		next := New(17, 10)
		if err := next.Decode(time.Hour, copied.pieces(time.Hour)[0]); err != nil {
			t.Fatal(err)
		}
		copied = next
	}
	var out Out
	copied.Activate(2*time.Hour, 1, "a")
	if copied.Tick(2*time.Hour, &out); copied.Quarantined(2*time.Hour) != 0 {
		t.Error("it is in quarantine again")
	}
	copied.Step(2*time.Hour, Ref{&listener{name: "a"}, 1}, &Request{Kind: Acquire, Key: "k", ClientID: "a", RequestID: "r", TTL: time.Minute, Send: 1}, &out)
	if copied.Seq() == 0 || copied.BeganLost() || New(17, 10).BeganLost() {
		t.Errorf("after %d decisions it is as after a loss", copied.Seq())
	}
}
