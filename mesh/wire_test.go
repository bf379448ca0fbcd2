package mesh

import (
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/view"
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

func viewOf(names ...string) ring.View {
	v := ring.View{Replicas: 1, Placement: ring.Placement, Release: release.Oldest}
	for _, n := range names {
		v.Members = append(v.Members, ring.Member{Identity: ring.Identity{ID: n, Counter: 1, Nonce: 7}, Name: n, Peer: n + ":1"})
	}
	return v
}
