package mesh

import (
	"errors"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
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
	lock := func(keys ...string) (l []sharelock.KeyState) {
		for _, k := range keys {
			l = append(l, sharelock.KeyState{Key: k})
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
	v := ring.View{Replicas: 1, Placement: ring.Placement, Release: release.Oldest}
	for _, n := range names {
		v.Members = append(v.Members, ring.Member{Identity: ring.Identity{ID: n, Counter: 1, Nonce: 7}, Name: n, Peer: n + ":1"})
	}
	return v
}
