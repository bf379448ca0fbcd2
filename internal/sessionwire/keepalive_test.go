package sessionwire

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

func sampleKeeps() []Keep {
	return []Keep{
		{Kind: KeepAlive, ID: 7},
		{Kind: KeepAttach, ID: 1 << 40, Key: "orders/é", Token: 256460173377011713, TTL: 10*time.Second + 5},
		{Kind: KeepAttach, ID: 2, Key: string(make([]byte, 400)) + "x", Token: 1, TTL: time.Minute},
		{Kind: KeepDetach, ID: 3},
		{Kind: KeepClose, ID: 1},
		{Kind: KeepRing, ID: 1},
		{Kind: KeepWatch, ID: 5, Watch: &sharelock.WatchRequest{Key: "orders/é", Resume: "59712345.1021"}},
		{Kind: KeepWatch, ID: 1 << 40, Watch: &sharelock.WatchRequest{Prefix: string(make([]byte, 400))}, Events: 1024},
		{Kind: KeepUnwatch, ID: 6},
		{Kind: KeepRead, ID: 5, Events: 300},
	}
}

func readKeeps(t *testing.T, data []byte) []Keep {
	t.Helper()
	var (
		r   KeepReader
		all []Keep
	)
	for r.Reset(data); ; {
		var k Keep
		more, err := r.Next(&k)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return all
		}
		all = append(all, k)
	}
}

// Requests other than calls are encoded and decoded as by the generated code, and do not affect calls.
func TestSessionKeeps(t *testing.T) {
	var data []byte
	keeps := sampleKeeps()
	data = AppendCall(data, &Call{ID: 9, Kind: CallCancel})
	for i := range keeps {
		data = AppendKeep(data, &keeps[i])
	}
	data = AppendPing(data)
	want := &sharelockv1.SessionRequest{
		Calls: []*sharelockv1.SessionCall{{Id: 9, Call: &sharelockv1.SessionCall_Cancel{Cancel: &sharelockv1.SessionCancel{}}}},
		Ping:  true, Keepalive: 7, Detach: []uint64{3}, Close: true, Ring: true,
		Attach: []*sharelockv1.SessionHold{
			{Id: 1 << 40, Key: "orders/é", Token: 256460173377011713, Ttl: durationpb.New(10*time.Second + 5)},
			{Id: 2, Key: keeps[2].Key, Token: 1, Ttl: durationpb.New(time.Minute)},
		},
		Watch: []*sharelockv1.SessionWatch{
			{Id: 5, Watch: &sharelockv1.WatchRequest{Key: "orders/é", Resume: "59712345.1021"}},
			{Id: 1 << 40, Watch: &sharelockv1.WatchRequest{Prefix: keeps[7].Watch.Prefix}, Ahead: 1024},
		},
		Unwatch: []uint64{6},
		Read:    []*sharelockv1.SessionRead{{Id: 5, Events: 300}},
	}
	var m sharelockv1.SessionRequest
	if err := proto.Unmarshal(data, &m); err != nil || !proto.Equal(&m, want) {
		t.Errorf("by hand: %v, %v, want %v", &m, err, want)
	}
	generated, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for name, bytes := range map[string][]byte{"by hand": data, "generated": generated} {
		if got := readKeeps(t, bytes); !reflect.DeepEqual(got, keeps) {
			t.Errorf("%s: read\n%+v, want\n%+v", name, got, keeps)
		}
		var r CallReader
		var calls []Call
		for r.Reset(bytes); ; {
			var c Call
			more, err := r.Next(&c)
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			calls = append(calls, c)
		}
		if len(calls) != 1 || !r.Keeps || !r.Ping {
			t.Errorf("%s: calls %+v, keeps %t, ping %t", name, calls, r.Keeps, r.Ping)
		}
	}
}

func TestSessionBadHolds(t *testing.T) {
	second := durationpb.New(time.Second)
	for name, h := range map[string]*sharelockv1.SessionHold{
		"no token":                 {Id: 1, Key: "k", Ttl: second},
		"a token of 64 bits":       {Id: 1, Key: "k", Token: 1 << 63, Ttl: second},
		"no ttl":                   {Id: 1, Key: "k", Token: 1},
		"a ttl too long for Go":    {Id: 1, Key: "k", Token: 1, Ttl: &durationpb.Duration{Seconds: 1 << 40}},
		"a ttl that is too little": {Id: 1, Key: "k", Token: 1, Ttl: durationpb.New(time.Millisecond)},
	} {
		data, err := proto.Marshal(&sharelockv1.SessionRequest{Attach: []*sharelockv1.SessionHold{h}, Keepalive: 1})
		if err != nil {
			t.Fatal(err)
		}
		got := readKeeps(t, data)
		i := slices.IndexFunc(got, func(k Keep) bool { return k.Kind == KeepAttach })
		if len(got) != 2 || i < 0 || got[i].ID != 1 || !errors.Is(got[i].Err, sharelock.ErrInvalidArgument) {
			t.Errorf("%s: read %+v", name, got)
		}
	}
}

func readKept(t *testing.T, data []byte) []Kept {
	t.Helper()
	var (
		r   KeptReader
		all []Kept
	)
	for r.Reset(data); ; {
		var k Kept
		more, err := r.Next(&k)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return all
		}
		all = append(all, k)
	}
}

func TestSessionKept(t *testing.T) {
	data := AppendReply(nil, &Reply{ID: 9, Status: []byte{8, 10}})
	data = AppendRenewed(data, 5, []uint64{1, 1 << 40})
	data = AppendEnd(data, 3, []byte{8, 5})
	data = AppendRenewed(AppendPing(data), 6, []uint64{4})
	data = AppendQueued(data, 2, 3)
	data = AppendClosing(data, []byte{8, 14})
	data = AppendWatches(data)
	data = AppendWatchEnd(data, 7, []byte{8, 1})
	want := &sharelockv1.SessionResponse{
		Answers: []*sharelockv1.SessionAnswer{{Id: 9, Status: []byte{8, 10}}}, Pong: true,
		Renewed: []*sharelockv1.SessionRenewed{{Keepalive: 5, Ids: []uint64{1, 1 << 40}}, {Keepalive: 6, Ids: []uint64{4}}},
		Ended:   []*sharelockv1.SessionEnd{{Id: 3, Status: []byte{8, 5}}},
		Queued:  []*sharelockv1.SessionQueued{{Id: 2, Position: 3}},
		Closing: []byte{8, 14}, Watches: true,
		Events: []*sharelockv1.SessionEvents{{Id: 7, Ended: []byte{8, 1}}},
	}
	var m sharelockv1.SessionResponse
	if err := proto.Unmarshal(data, &m); err != nil || !proto.Equal(&m, want) {
		t.Errorf("by hand: %v, %v, want %v", &m, err, want)
	}
	generated, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	byID := func(a, b Kept) int { return int(a.ID) - int(b.ID) }
	kept := []Kept{{Closing: []byte{8, 14}}, {Watches: true}, {ID: 1, Keepalive: 5}, {ID: 2, Position: 3}, {ID: 3, Status: []byte{8, 5}}, {ID: 4, Keepalive: 6}, {ID: 7, Events: []byte{8, 7, 26, 2, 8, 1}, Over: true}, {ID: 1 << 40, Keepalive: 5}}
	for name, bytes := range map[string][]byte{"by hand": data, "generated": generated} {
		got := readKept(t, bytes)
		slices.SortStableFunc(got, byID)
		if !reflect.DeepEqual(got, kept) {
			t.Errorf("%s: read %+v, want %+v", name, got, kept)
		}
		var r ReplyReader
		var a Reply
		n := 0
		for r.Reset(bytes); ; n++ {
			more, err := r.Next(&a)
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
		}
		if n != 1 || !r.Kept {
			t.Errorf("%s: %d answers, kept %t", name, n, r.Kept)
		}
	}
	// A renewal without a keepalive is ignored.
	if got := readKept(t, AppendRenewed(nil, 0, []uint64{1})); len(got) != 0 {
		t.Errorf("read %+v", got)
	}
}

// The owners of partitions are encoded and decoded as by the generated code.
func TestSessionRing(t *testing.T) {
	want := &sharelockv1.GetRingResponse{Epoch: 7, Partitions: 2, Owners: []uint32{0, 1}, Members: []*sharelockv1.RingMember{{Name: "a", Grpc: "a:1"}}}
	ring, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	data := AppendRing(nil, ring)
	var m sharelockv1.SessionResponse
	if err := proto.Unmarshal(data, &m); err != nil || !proto.Equal(m.GetRing(), want) {
		t.Errorf("by hand: %v, %v, want %v", &m, err, want)
	}
	if got := readKept(t, data); len(got) != 1 || !slices.Equal(got[0].Ring, ring) {
		t.Errorf("read %+v, want %v", got, ring)
	}
	if got := readKept(t, AppendRing(nil, nil)); len(got) != 1 || got[0].Ring == nil {
		t.Errorf("nobody owns anything: read %+v", got)
	}
}

func FuzzSessionKeeps(f *testing.F) {
	var data []byte
	keeps := sampleKeeps()
	for i := range keeps {
		data = AppendKeep(data, &keeps[i])
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var (
			r KeepReader
			k Keep
		)
		for r.Reset(data); ; {
			more, err := r.Next(&k)
			if err != nil || !more {
				return
			}
			if k.Err != nil {
				continue
			}
			// What is read is written and read again as the same.
			if back := readKeeps(t, AppendKeep(nil, &k)); len(back) != 1 || !reflect.DeepEqual(back[0], k) {
				t.Fatalf("%+v became %+v", k, back)
			}
		}
	})
}

func FuzzSessionKept(f *testing.F) {
	f.Add(AppendRing(AppendEnd(AppendRenewed(nil, 5, []uint64{1, 1 << 40}), 3, []byte{8, 5}), []byte{8, 7}))
	f.Add(AppendForced(nil, "k", 7, "by hand"))
	f.Add(AppendClosing(AppendQueued(nil, 9, 3), []byte{8, 7}))
	f.Add(AppendWatches(AppendWatchEnd(nil, 7, []byte{8, 1})))
	f.Fuzz(func(t *testing.T, data []byte) {
		var (
			r KeptReader
			k Kept
		)
		for r.Reset(data); ; {
			more, err := r.Next(&k)
			if err != nil || !more {
				return
			}
			var back []byte
			switch {
			case k.Ring != nil:
				back = AppendRing(nil, k.Ring)
			case k.Status != nil:
				back = AppendEnd(nil, k.ID, k.Status)
			case k.Forced != nil:
				back = AppendForced(nil, k.Forced.Key, k.Forced.Token, k.Forced.Reason)
			case k.Closing != nil:
				back = AppendClosing(nil, k.Closing)
			case k.Events != nil:
				back = protowire.AppendBytes(protowire.AppendTag(nil, eventsField, protowire.BytesType), k.Events)
			case k.Watches:
				back = AppendWatches(nil)
			case k.Position != 0:
				back = AppendQueued(nil, k.ID, k.Position)
			default:
				back = AppendRenewed(nil, k.Keepalive, []uint64{k.ID})
			}
			if got := readKept(t, back); len(got) != 1 || !reflect.DeepEqual(got[0], k) {
				t.Fatalf("%+v became %+v", k, got)
			}
		}
	})
}
