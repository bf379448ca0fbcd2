package peer

import (
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// someEvents returns events with all fields, and with none.
func someEvents() []*owner.Event {
	at := time.Date(2026, 11, 30, 17, 3, 22, 123, time.UTC)
	return []*owner.Event{
		{Event: sharelock.Event{At: time.Unix(0, 0).UTC()}},
		{
			Event: sharelock.Event{
				Type: sharelock.LeftQueue, Key: "orders/42", Token: 1 << 62, ClientID: "c", Principal: "ci", Mode: sharelock.Shared, Reason: "wait over",
				At: at, Waiters: 10_000,
			},
			Partition: 1023, Epoch: 1<<32 - 1, Seq: 1<<64 - 1,
		},
		{Event: sharelock.Event{Type: "of a newer release", Key: "k", At: at}, Partition: 1, Epoch: 2, Seq: 3},
	}
}

// An event is encoded and decoded as the generated code does it.
func TestEventOnTheWire(t *testing.T) {
	var list []byte
	for _, e := range someEvents() {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(eventToProto(e))
		if err != nil {
			t.Fatal(err)
		}
		want := protowire.AppendBytes(nil, data)
		got := appendEvent(nil, e)
		if string(got) != string(want) {
			t.Errorf("%+v\ngot  %x\nwant %x", e, got, want)
		}
		list = append(list, got...)
	}
	for _, want := range someEvents() {
		got, err := nextEvent(&list)
		if err != nil || *got != *want {
			t.Errorf("read %+v, %v\nwant %+v", got, err, want)
		}
	}
	if len(list) > 0 {
		t.Errorf("%d bytes are left", len(list))
	}
}

// News keep their order, whatever comes between the events, and the size of messages is bounded.
func TestNewsOnTheWire(t *testing.T) {
	e := someEvents()[1]
	news := []owner.News{{Event: e}, {Event: e}, {}, {Event: e}, {Part: &owner.Part{ID: 7, Events: []*owner.Event{e}, Done: true, Last: true}}, {Event: e}}
	for range 3000 {
		news = append(news, owner.News{Event: e})
	}
	var got []owner.News
	for rest := news; len(rest) > 0; {
		var m *peerv1.WatchNews
		var size int
		m, size, rest = newsToProto(rest)
		if size > newsAtOnce+1024 {
			t.Errorf("news of %d bytes, want about %d at most", size, newsAtOnce)
		}
		var err error
		if got, err = newsFromProto(got, m); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != len(news) {
		t.Fatalf("%d news, want %d", len(got), len(news))
	}
	for i, n := range got {
		same := n.Lost() == news[i].Lost() && (n.Event == nil) == (news[i].Event == nil) && (n.Part == nil) == (news[i].Part == nil)
		if !same || n.Event != nil && (n.Event.Cursor != e.Place().String() || n.Event.ClientID != e.ClientID) {
			t.Errorf("news %d are %+v, want %+v", i, n, news[i])
		}
	}
}

// FuzzWatchEvents checks that no message makes the decoder panic, and that it reads what the
// generated code reads.
func FuzzWatchEvents(f *testing.F) {
	for _, e := range someEvents() {
		f.Add(appendEvent(nil, e))
	}
	f.Add([]byte{0})
	f.Add([]byte{3, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		for rest := data; len(rest) > 0; {
			one, _ := protowire.ConsumeBytes(rest)
			e, err := nextEvent(&rest)
			var m peerv1.WatchEvent
			if proto.Unmarshal(one, &m) != nil {
				if err != nil {
					return
				}
				continue
			}
			if err != nil {
				return // a field of another type, which the generated code ignores
			}
			want := eventFromProto(&m)
			want.Mode, e.Mode = 0, 0 // they differ for numbers that are not modes
			if *e != *want {
				t.Errorf("%x: read %+v, want %+v", one, e, want)
			}
		}
	})
}
