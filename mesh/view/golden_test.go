package view

import (
	"flag"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/golden"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The formats of what Raft keeps on disk and sends: a later program has to read it.
func TestRaftFormatsAreStable(t *testing.T) {
	var f golden.File
	cluster := &peerv1.Cluster{Id: []byte("one"), Name: "sharelock", Partitions: 1024, LeaseNs: int64(lease), MaxTtlNs: int64(time.Minute), Replicas: 2}
	v := viewOf("a", "b")
	v.Members[1].Leaving, v.Members[1].Hold = true, 1
	v.Members[0].HTTP, v.Members[0].GRPC, v.Members[0].Gossip = "a:2", "a:3", "a:4"
	for _, c := range []struct {
		name string
		cmd  *peerv1.Command
	}{
		{"found", foundCommand(cluster, 100, v)},
		{"lead", leadCommand()},
		{"propose", proposeCommand(100, 3, 200, v)},
	} {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.cmd)
		if err != nil {
			t.Fatal(err)
		}
		f.Add("command "+c.name, data)
	}
	m := &fsm{changed: make(chan struct{}, 1)}
	commit(t, m, 1, foundCommand(cluster, 100, viewOf("a")))
	commit(t, m, 3, proposeCommand(100, 3, 200, v))
	snapshot, err := encodeSnapshot(m.state())
	if err != nil {
		t.Fatal(err)
	}
	f.Add("snapshot", snapshot)
	f.Compare(t, "testdata/raft.golden", *update)
}
