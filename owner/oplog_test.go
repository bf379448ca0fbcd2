package owner

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/owner/ops"
	"github.com/sgkandale/sharelock/ring"
)

// TestAckAfterRewind: an acknowledgement from before the link broke is handled after
// the link was opened anew, and before anything was sent on it. What it confirms is
// not sent again.
func TestAckAfterRewind(t *testing.T) {
	backup := ring.Member{Identity: ring.Identity{ID: "b"}}
	var l oplog
	l.begin([]ring.Member{backup}, 5)
	l.append(0, []ops.Op{{Kind: ops.Read, Key: "a"}, {Kind: ops.Read, Key: "b"}, {Kind: ops.Read, Key: "c"}}, &opArena{})
	l.unsent(0, &l.backups[0])
	if !l.rewind(backup.Identity) {
		t.Fatal("nothing is to be sent again")
	}
	l.ack(0, backup.Identity, Ack{Seq: 7}, nil)
	e, more := l.unsent(0, &l.backups[0])
	if _, rest := l.unsent(0, &l.backups[0]); !more || rest || e.First != 8 {
		t.Errorf("sent again: %+v, want op 8 alone", e)
	}
}

// What is in a log stays what it was, whatever is appended behind it and however much
// is sent together.
func TestLogKeepsItsOps(t *testing.T) {
	var l oplog
	var room opArena
	l.begin([]ring.Member{{}, {}}, 0)
	const count = 3000
	var want []byte
	for i := range count {
		// Some are longer than what an opArena leaves.
		text := strings.Repeat(string(rune('a'+i%26)), i*37%1500)
		op := ops.Op{Kind: ops.Enqueue, Key: "k", ClientID: "c", RequestID: "r", TTL: 1, Metadata: map[string]string{"m": text}}
		want = op.Append(want)
		l.append(0, []ops.Op{op}, &room)
		if i%7 == 0 {
			l.unsent(0, &l.backups[0])
		}
	}
	var got []byte
	next := uint64(1)
	for e, more := l.unsent(0, &l.backups[1]); more; e, more = l.unsent(0, &l.backups[1]) {
		if e.First != next || len(e.Ops) > maxEntries+2000 {
			t.Fatalf("entries from %d of %d bytes, want from %d", e.First, len(e.Ops), next)
		}
		got = append(got, e.Ops...)
		for left := e.Ops; len(left) > 0; next++ {
			var op ops.Op
			var err error
			if left, err = op.Decode(left); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !bytes.Equal(got, want) || next != count+1 {
		t.Errorf("%d ops of %d bytes came out, want %d of %d", next-1, len(got), count, len(want))
	}
	if full := l.bytes; full != len(want) {
		t.Errorf("the log counts %d bytes, want %d", full, len(want))
	}
	for i := range l.backups {
		l.backups[i].acked = count
	}
	for l.behind() { // a step at a time
		before := l.base
		if l.ack(0, ring.Identity{ID: "x"}, Ack{}, nil); l.base-before > ackMost || l.base == before {
			t.Fatalf("a step let %d ops go", l.base-before)
		}
	}
	if ready := l.ack(0, ring.Identity{ID: "x"}, Ack{}, nil); len(ready) != 0 || l.bytes != 0 || l.ops.Len() != 0 || l.ops.Room() > 4 {
		t.Errorf("when all is confirmed %d bytes and room for %d ops are left", l.bytes, l.ops.Room())
	}
}

// Large ops do not make an opArena begin a piece each time, nor copy one.
func TestArenaOfLargeOps(t *testing.T) {
	var room opArena
	op := ops.Op{Kind: ops.Enqueue, Key: "k", ClientID: "c", RequestID: "r", TTL: 1, Metadata: map[string]string{"m": strings.Repeat("x", 2400)}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const count = 1000
	for range count {
		room.encode(&op)
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / count; each > 9000 {
		t.Errorf("an op of 2.4 kB takes %d bytes", each)
	}
}
