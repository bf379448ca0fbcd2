package owner

import (
	"testing"

	"github.com/sgkandale/sharelock/ring"
)

// TestAckAfterRewind: an acknowledgement from before the link broke is handled after
// the link was opened anew, and before anything was sent on it. What it confirms is
// not sent again.
func TestAckAfterRewind(t *testing.T) {
	backup := ring.Member{Identity: ring.Identity{ID: "b"}}
	var l oplog
	l.begin([]ring.Member{backup}, 5)
	l.append(0, []Op{{Kind: OpRead, Key: "a"}, {Kind: OpRead, Key: "b"}, {Kind: OpRead, Key: "c"}})
	l.unsent(0, &l.backups[0])
	if !l.rewind(backup.Identity) {
		t.Fatal("nothing is to be sent again")
	}
	l.ack(0, backup.Identity, Ack{Seq: 7})
	entries := l.unsent(0, &l.backups[0])
	if len(entries) != 1 || entries[0].First != 8 {
		t.Errorf("sent again: %+v, want op 8 alone", entries)
	}
}
