package gossip

import (
	"flag"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/golden"
	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// What a process says in gossip.
func TestFormatsAreStable(t *testing.T) {
	var f golden.File
	id := ring.Identity{ID: "9f86d081884c7d65", Counter: 12, Nonce: 7}
	meta, err := proto.MarshalOptions{Deterministic: true}.Marshal(&peerv1.Meta{
		Identity: ringproto.EncodeIdentity(id), Name: "a", Cluster: "sharelock", ClusterId: []byte("one"), Peer: "a:1", Http: "a:2", Grpc: "a:3",
		SeedIndex: 1, SeedsHash: SeedsHash([]string{"a:7946", "b:7946"}), Release: 1, OldestRelease: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Add("gossip meta", meta)
	f.Add("gossip label", []byte(label("sharelock")))
	f.Compare(t, "testdata/gossip.golden", *update)
}
