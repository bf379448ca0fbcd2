package view

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/mesh/raftstore"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// noSync does not sync: nothing crashes in these tests.
func noSync(string) error { return nil }

func quiet() hclog.Logger { return hclog.New(&hclog.LoggerOptions{Output: io.Discard}) }

// recordsOf writes a log as a killed voter leaves it: it does not say what was committed.
func recordsOf(t *testing.T, commands ...*peerv1.Command) string {
	t.Helper()
	dir := t.TempDir()
	s, err := raftstore.Open(filepath.Join(dir, LogFile), noSync)
	if err != nil {
		t.Fatal(err)
	}
	three := raft.Configuration{}
	for _, id := range []raft.ServerID{"a", "b", "c"} {
		three.Servers = append(three.Servers, raft.Server{Suffrage: raft.Voter, ID: id, Address: raft.ServerAddress(id)})
	}
	three.Servers = append(three.Servers, raft.Server{Suffrage: raft.Nonvoter, ID: "d", Address: "d"})
	entries := []*raft.Log{{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(three)}}
	for _, c := range commands {
		data, err := proto.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, &raft.Log{Index: uint64(len(entries) + 1), Term: 1, Type: raft.LogCommand, Data: data})
	}
	if err := errors.Join(s.StoreLogs(entries), s.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mustRead(t *testing.T, dir string) Records {
	t.Helper()
	r, err := ReadRecords(dir, noSync, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The first epoch after a recovery is above every epoch that the lost directories may have had:
// those in the log, committed or not, and that of the clock.
func TestRecoveredEpochs(t *testing.T) {
	now := uint32(secondsAt(time.Now()))
	ahead := uint64(now) + 1<<21
	for name, test := range map[string]struct {
		seconds uint64
		more    []*peerv1.Command
		least   uint32
	}{
		"old records":       {1000, nil, now},
		"a clock ahead":     {ahead, nil, uint32(ahead)},
		"decided":           {1000, []*peerv1.Command{proposeCommand(1000, 1, ahead, viewOf("a"))}, uint32(ahead)},
		"without effect":    {1000, []*peerv1.Command{proposeCommand(uint32(ahead), 9, 0, viewOf("a"))}, uint32(ahead) + 1},
		"a later one later": {1000, []*peerv1.Command{proposeCommand(1000, 1, ahead, viewOf("a")), proposeCommand(3, 1, 5, viewOf("a"))}, uint32(ahead)},
	} {
		t.Run(name, func(t *testing.T) {
			r := mustRead(t, recordsOf(t, append([]*peerv1.Command{bornAt(test.seconds)}, test.more...)...))
			if !slices.Equal(r.Voters, []string{"a", "b", "c"}) {
				t.Errorf("voters %v", r.Voters)
			}
			s, err := r.Recovered([]byte("new"), viewOf("a").Members[0])
			if err != nil {
				t.Fatal(err)
			}
			if s.Epoch() < test.least+recoveryLeap {
				t.Errorf("epoch %d, want at least %d", s.Epoch(), test.least+recoveryLeap)
			}
			if string(s.Cluster.GetId()) != "new" || !slices.EqualFunc(s.Cluster.GetReplaces(), append(slices.Clone(r.State.Cluster.GetReplaces()), r.State.Cluster.GetId()), bytes.Equal) {
				t.Errorf("cluster %q replaces %q", s.Cluster.GetId(), s.Cluster.GetReplaces())
			}
			// No empty copy is good in it (protocol, "Activation", step 2), so every partition is
			// quarantined.
			views, complete := s.History.Between(0, s.Epoch())
			if complete && len(views) == 0 {
				t.Error("the empty copy would be good")
			}
		})
	}
}

func TestRecoveredEpochsEnd(t *testing.T) {
	r := mustRead(t, recordsOf(t, bornAt(maxSeconds-1)))
	if s, err := r.Recovered([]byte("new"), viewOf("a").Members[0]); !errors.Is(err, ErrEpochsUsedUp) {
		t.Errorf("epoch %d, %v, want %v", s.Epoch(), err, ErrEpochsUsedUp)
	}
}

func TestNothingToRecover(t *testing.T) {
	for name, dir := range map[string]string{"empty": t.TempDir(), "no view": recordsOf(t)} {
		if _, err := ReadRecords(dir, noSync, quiet()); !errors.Is(err, ErrNoRecords) {
			t.Errorf("%s: %v, want %v", name, err, ErrNoRecords)
		}
	}
}

// A Raft begins with what was written, as the only voter.
func TestRecoveredStarts(t *testing.T) {
	r := mustRead(t, recordsOf(t, bornAt(1000)))
	s, err := r.Recovered([]byte("new"), viewOf("a").Members[0])
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := r.Write(dir, noSync, quiet(), s, "a"); err != nil {
		t.Fatal(err)
	}
	again := mustRead(t, dir)
	if again.State.Epoch() != s.Epoch() || again.epoch != s.Epoch() || !slices.Equal(again.Voters, []string{"a"}) {
		t.Errorf("read again: %v of %v", again.State.View(), again.Voters)
	}
	a, err := Start(Config{
		ID: "a", Dir: dir, SyncDir: noSync, Lease: lease, Layer: deafLayer{make(chan struct{})}, Log: slog.New(slog.DiscardHandler), RaftLog: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	for lead := range a.LeaderCh() {
		if lead {
			break
		}
	}
	term, err := a.Lead(context.Background())
	if err != nil || term <= 1 {
		t.Errorf("term %d, %v, want one above the old entries'", term, err)
	}
	after, applied, err := a.Propose(context.Background(), s.Epoch(), term, ring.View{Release: 1, Members: s.View().Members})
	if err != nil || !applied || after.Epoch() != s.Epoch()+1 {
		t.Errorf("next view: %v, %v, %v", after.View(), applied, err)
	}
}
