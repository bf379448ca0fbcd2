package view

import (
	"bytes"
	"io"
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/release"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

func viewOf(names ...string) ring.View {
	v := ring.View{Replicas: 1, Placement: ring.Placement, Release: release.Oldest}
	for _, n := range names {
		v.Members = append(v.Members, ring.Member{Identity: ring.Identity{ID: n, Counter: 1, Nonce: 7}, Name: n, Peer: n + ":1", Release: release.Oldest})
	}
	return v
}

// commit applies a command as Raft would.
func commit(t *testing.T, f *fsm, term uint64, c *peerv1.Command) outcome {
	t.Helper()
	data, err := proto.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return f.Apply(&raft.Log{Term: term, Data: data}).(outcome)
}

func bornAt(seconds uint64) *peerv1.Command {
	return foundCommand(&peerv1.Cluster{Id: []byte("one"), Partitions: 8, LeaseNs: 1}, seconds, viewOf("a"))
}

// V2: a proposal takes effect only in the epoch and the term it was made for.
func TestProposeNeedsEpochAndTerm(t *testing.T) {
	f := &fsm{changed: make(chan struct{}, 1)}
	if out := commit(t, f, 1, proposeCommand(0, 1, 5, viewOf("a"))); out.applied {
		t.Error("a proposal took effect before the cluster was born")
	}
	if out := commit(t, f, 1, bornAt(100)); !out.applied || out.state.Epoch() != 100 {
		t.Fatalf("birth: %+v, want epoch 100", out)
	}
	if out := commit(t, f, 1, bornAt(200)); out.applied {
		t.Error("a cluster was born twice")
	}
	if out := commit(t, f, 2, proposeCommand(99, 2, 0, viewOf("a", "b"))); out.applied {
		t.Error("a proposal for another epoch took effect")
	}
	// Schedule 8c: the leader waited in term 3, and its proposal is appended in term 5.
	if out := commit(t, f, 5, proposeCommand(100, 3, 0, viewOf("a", "b"))); out.applied {
		t.Error("a proposal of an earlier leadership took effect")
	}
	if out := commit(t, f, 5, proposeCommand(100, 5, 0, viewOf("a", "b"))); !out.applied || out.state.Epoch() != 101 {
		t.Errorf("proposal: applied %v, epoch %d, want true, 101", out.applied, out.state.Epoch())
	}
	if out := commit(t, f, 5, proposeCommand(100, 5, 0, viewOf("a", "c"))); out.applied {
		t.Error("two proposals for one epoch took effect")
	}
	if out := commit(t, f, 9, leadCommand()); out.term != 9 {
		t.Errorf("lead has term %d, want the entry's, 9", out.term)
	}
}

// Schedule 15h: epochs grow and stay in 31 bits, whatever the wall clock says.
func TestNextEpoch(t *testing.T) {
	tests := []struct {
		prev    uint32
		seconds uint64
		want    uint32
	}{
		{0, 0, 1},
		{5, 3, 6},
		{5, 6, 6},
		{5, 59_000_000, 59_000_000},
		{59_000_000, 59_000_000, 59_000_001},
		{7, maxSeconds - 1, 1<<31 - 1<<20 - 1},
		{7, maxSeconds, 8},
		{7, 1<<31 - 1, 8},
		{7, 5_500_000_000, 8}, // the year 2200
	}
	for _, tt := range tests {
		if got := nextEpoch(tt.prev, tt.seconds); got != tt.want {
			t.Errorf("nextEpoch(%d, %d) = %d, want %d", tt.prev, tt.seconds, got, tt.want)
		}
	}
}

// A snapshot keeps the whole history, with its bound and its first epoch.
func TestSnapshotKeepsHistory(t *testing.T) {
	f := &fsm{changed: make(chan struct{}, 1)}
	commit(t, f, 1, bornAt(10))
	for range ring.MaxHistory + 5 {
		s := f.state()
		if out := commit(t, f, 2, proposeCommand(s.Epoch(), 2, 0, viewOf("a", "b"))); !out.applied {
			t.Fatal("proposal failed")
		}
	}
	snap, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	store := raft.NewInmemSnapshotStore()
	sink, err := store.Create(1, 1, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := snap.Persist(sink); err != nil {
		t.Fatal(err)
	}
	_, r, err := store.Open(sink.ID())
	if err != nil {
		t.Fatal(err)
	}
	g := &fsm{changed: make(chan struct{}, 1)}
	if err := g.Restore(r); err != nil {
		t.Fatal(err)
	}
	want, got := StateToProto(f.state()), StateToProto(g.state())
	if !proto.Equal(want, got) {
		t.Errorf("restored state is %v, want %v", got, want)
	}
	if n := len(got.GetViews()); n != ring.MaxHistory || got.GetFirstEpoch() != 10 {
		t.Errorf("%d views from epoch %d, want %d from 10", n, got.GetFirstEpoch(), ring.MaxHistory)
	}
	select {
	case <-g.changed:
	default:
		t.Error("changed is not set after views were restored")
	}
	if err := g.Restore(io.NopCloser(bytes.NewReader([]byte{0xff}))); err == nil {
		t.Error("a damaged snapshot was accepted")
	}
}
