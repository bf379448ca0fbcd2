package sessionwire

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// What watches tell fills messages up to their limit: nothing is lost, and each message is that of the
// generated code.
func TestSessionEvents(t *testing.T) {
	var events []sharelock.Event
	for i := range 100 {
		events = append(events, sharelock.Event{
			Type: sharelock.Queued, Key: strings.Repeat("k", 1+3*i), ClientID: "c", At: time.Unix(int64(i), 5).UTC(), Waiters: i,
		})
	}
	for _, limit := range []int{1, 130, 160, 1 << 10, 1 << 20} {
		var got []sharelock.Event
		before := AppendWatchEnd(nil, 1, []byte{8, 5})
		for id := uint64(7); len(got) < len(events); id++ {
			rest := events[len(got):]
			b, n := AppendEvents(before, id, len(rest), limit, func(b []byte, i int) []byte { return AppendEvent(b, &rest[i]) })
			if !bytes.HasPrefix(b, before) || len(b) > limit && n > 0 && (n > 1 || len(before) > 0) {
				t.Fatalf("limit %d: %d events in %d bytes", limit, n, len(b))
			}
			if n == 0 { // there is no room behind what is in the message
				if len(b) != len(before) || len(before) == 0 {
					t.Fatalf("limit %d: nothing was taken, and %d bytes of %d were appended", limit, len(b), len(before))
				}
				before = nil
				continue
			}
			var m sharelockv1.SessionResponse
			if err := proto.Unmarshal(b[len(before):], &m); err != nil || len(m.GetEvents()) != 1 || m.GetEvents()[0].GetId() != id {
				t.Fatalf("limit %d: %v, %v", limit, &m, err)
			}
			kept := readKept(t, b[len(before):])
			if len(kept) != 1 || kept[0].ID != id {
				t.Fatalf("limit %d: read %+v", limit, kept)
			}
			list, ended, err := ReadEvents(kept[0].Events)
			if err != nil || ended != nil || len(list) != n {
				t.Fatalf("limit %d: read %d events of %d, %q, %v", limit, len(list), n, ended, err)
			}
			got, before = append(got, list...), nil
		}
		if !reflect.DeepEqual(got, events) {
			t.Errorf("limit %d: got %+v", limit, got)
		}
	}
	if _, ended, err := ReadEvents([]byte{8, 7, 26, 2, 8, 1}); err != nil || string(ended) != "\x08\x01" {
		t.Errorf("the end of a watch: %q, %v", ended, err)
	}
}
