package peerv1_test

import (
	"flag"
	"testing"

	"github.com/sgkandale/sharelock/internal/golden"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The messages between members are what they are for all programs of a release: of gRPC and
// links, in gossip, and Raft's commands and snapshots.
func TestMessagesAreStable(t *testing.T) {
	var f golden.File
	if err := f.AddMessages(peerv1.File_sharelock_peer_v1_peer_proto); err != nil {
		t.Fatal(err)
	}
	services := peerv1.File_sharelock_peer_v1_peer_proto.Services()
	for i := range services.Len() {
		for s, j := services.Get(i), 0; j < s.Methods().Len(); j++ {
			m := s.Methods().Get(j)
			name := string(m.FullName()) + ": " + string(m.Input().Name()) + " to " + string(m.Output().Name())
			if m.IsStreamingClient() || m.IsStreamingServer() {
				name += ", a stream"
			}
			f.Add(name, nil)
		}
	}
	f.Compare(t, "testdata/messages.golden", *update)
}
