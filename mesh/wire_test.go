package mesh

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// overTheWire encodes and decodes a message as a link does.
func overTheWire[M proto.Message](t rapid.TB, in, out M) M {
	t.Helper()
	data, err := proto.Marshal(in)
	if err == nil {
		err = proto.Unmarshal(data, out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func drawMetadata(t *rapid.T) map[string]string {
	m := rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "metadata")
	if len(m) == 0 {
		return nil
	}
	return m
}

func drawHold(t *rapid.T, key, node string) sharelock.Hold {
	return sharelock.Hold{
		Key: key, Node: node, Token: sharelock.Token(rapid.Uint64().Draw(t, "token")),
		ClientID: rapid.String().Draw(t, "client"), RequestID: rapid.String().Draw(t, "request"),
		Mode:  sharelock.Mode(rapid.Uint8Range(0, 1).Draw(t, "mode")),
		Slots: rapid.Uint32().Draw(t, "slots"), TTL: time.Duration(rapid.Int64().Draw(t, "ttl")),
		ExpiresIn: time.Duration(rapid.Int64().Draw(t, "expires")), Metadata: drawMetadata(t),
	}
}

// What a node asks arrives at the owner as it was asked.
func TestCallsSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := owner.Request{
			Kind: owner.Kind(rapid.Uint8Range(1, 9).Draw(t, "kind")), Key: rapid.String().Draw(t, "key"),
			ClientID: rapid.String().Draw(t, "client"), RequestID: rapid.String().Draw(t, "request"),
			Token: sharelock.Token(rapid.Uint64().Draw(t, "token")), TTL: time.Duration(rapid.Int64().Draw(t, "ttl")),
			Wait: time.Duration(rapid.Int64().Draw(t, "wait")), Mode: sharelock.Mode(rapid.Uint8Range(0, 1).Draw(t, "mode")),
			Slots: rapid.Uint32().Draw(t, "slots"), Metadata: drawMetadata(t), Send: rapid.Uint32().Draw(t, "send"),
			OwnID: rapid.Bool().Draw(t, "own"), SentOnce: rapid.Bool().Draw(t, "once"), Drop: rapid.Bool().Draw(t, "drop"),
			Reason: rapid.String().Draw(t, "reason"),
		}
		c := overTheWire(t, callToProto(7, 8, &want), &peerv1.Call{})
		if got := callFromProto(c); !reflect.DeepEqual(*got, want) || c.GetId() != 7 || c.GetEpoch() != 8 {
			t.Errorf("arrived as %+v, want %+v", *got, want)
		}
	})
}

// What the owner answers arrives at the node as it was answered, errors with
// their sentinel and details.
func TestAnswersSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := owner.Answer{
			Outcome: owner.Outcome(rapid.Uint8Range(1, 3).Draw(t, "outcome")), Send: rapid.Uint32().Draw(t, "send"),
			Current: rapid.Bool().Draw(t, "current"),
		}
		for range rapid.IntRange(0, 2).Draw(t, "holds") {
			want.Holds = append(want.Holds, drawHold(t, "k", "b"))
		}
		if rapid.Bool().Draw(t, "lock") {
			want.Lock = &sharelock.Lock{
				Key: "k", Partition: 3, Owner: "b", Epoch: 9, Holds: want.Holds, Quarantine: time.Second, HoldCount: 4, WaiterCount: 5,
				Waiters: []sharelock.Waiter{{ClientID: "c", RequestID: "r", Mode: sharelock.Shared, Slots: 2, Waiting: 3, Metadata: drawMetadata(t)}},
			}
		}
		if got := answerFromProto(overTheWire(t, answerToProto(7, 8, &want), &peerv1.Answer{}), "b"); !reflect.DeepEqual(got, want) {
			t.Errorf("arrived as %+v, want %+v", got, want)
		}
	})
}

func TestErrorsSurviveTheWire(t *testing.T) {
	for _, sentinel := range errorNumbers {
		want := &sharelock.Error{
			Err: sentinel, Message: "why", Field: "key", Queue: 3, RetryAfter: time.Second,
			Holds: []sharelock.Hold{{Key: "k", Token: 5, ClientID: "c", Node: "b"}},
		}
		a := owner.Answer{Outcome: owner.Failed, Err: want}
		got := answerFromProto(answerToProto(1, 1, &a), "b")
		if !reflect.DeepEqual(got.Err, error(want)) {
			t.Errorf("%v arrives as %+v", sentinel, got.Err)
		}
	}
	// An error that is not in the table, and a failure without one, are ours.
	for _, a := range []*peerv1.Answer{
		answerToProto(1, 1, &owner.Answer{Outcome: owner.Failed, Err: errors.New("strange")}),
		{Outcome: uint32(owner.Failed)},
		{Outcome: uint32(owner.Failed), Error: 1 << 31},
	} {
		if got := answerFromProto(a, "b"); !errors.Is(got.Err, sharelock.ErrInternal) {
			t.Errorf("%v arrives as %v, want an internal error", a, got.Err)
		}
	}
}

// An answer that lacks what its request was for is an error, not a panic.
func TestHollowAnswers(t *testing.T) {
	for _, kind := range []owner.Kind{owner.Acquire, owner.Renew, owner.Release, owner.Force, owner.Get} {
		c := &call{req: owner.Request{Kind: kind}}
		if err := c.whole(owner.Answer{Outcome: owner.Done}); !errors.Is(err, sharelock.ErrInternal) {
			t.Errorf("kind %d: %v, want an internal error", kind, err)
		}
	}
}

// Views survive the wire.
func TestViewsSurviveTheWire(t *testing.T) {
	want := view.State{
		Cluster: &peerv1.Cluster{Id: []byte("x"), Name: "n", Partitions: 4, LeaseNs: 5, MaxTtlNs: 6, Replicas: 2},
		History: ring.History{First: 3, Views: []ring.View{viewOf("a"), viewOf("a", "b")}},
	}
	want.History.Views[1].Members[1].Leaving = true
	got := view.StateFromProto(overTheWire(t, view.StateToProto(want), &peerv1.History{}))
	if !proto.Equal(got.Cluster, want.Cluster) || !reflect.DeepEqual(got.History, want.History) {
		t.Errorf("arrived as %+v, want %+v", got, want)
	}
}

// An owner's parts make a page that passes over nothing.
func TestMergePages(t *testing.T) {
	lock := func(keys ...string) (l []sharelock.Lock) {
		for _, k := range keys {
			l = append(l, sharelock.Lock{Key: k})
		}
		return l
	}
	p := merge([]owner.Listing{
		{Locks: lock("a", "d"), More: true}, {Locks: lock("b", "c", "e", "f")}, {Quarantined: 2},
	}, 10)
	got := ""
	for _, l := range p.Locks {
		got += l.Key
	}
	if got != "abcd" || p.NextPageToken == "" || p.Quarantined != 2 {
		t.Errorf("page has %s, next %q, quarantined %d: want abcd, a next page, 2", got, p.NextPageToken, p.Quarantined)
	}
	if p := merge([]owner.Listing{{Locks: lock("a", "c")}, {Locks: lock("b")}}, 3); len(p.Locks) != 3 || p.NextPageToken != "" {
		t.Errorf("last page has %d locks, next %q", len(p.Locks), p.NextPageToken)
	}
	if p := merge([]owner.Listing{{Locks: lock("a", "c")}, {Locks: lock("b")}}, 2); len(p.Locks) != 2 || p.Locks[1].Key != "b" || p.NextPageToken == "" {
		t.Errorf("first page is %+v", p)
	}
}

func viewOf(names ...string) ring.View {
	v := ring.View{Replicas: 1, Placement: ring.Placement}
	for _, n := range names {
		v.Members = append(v.Members, ring.Member{Identity: ring.Identity{ID: n, Counter: 1, Nonce: 7}, Name: n, Peer: n + ":1"})
	}
	return v
}
