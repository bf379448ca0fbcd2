package view

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/mesh/raftstore"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// recoveryLeap is how far the first epoch after a recovery is above both the last epoch in the
// records and the seconds of the clock. The records may be old, and the lost processes may have had
// later views. The leap is enough even if their clocks were twelve days ahead.
const recoveryLeap = 1 << 20

// maxEpoch is the greatest epoch with which a recovery begins; it leaves room for a million
// further views.
const maxEpoch = 1<<31 - 1<<20

// The reasons why records cannot be recovered; match them with errors.Is.
var (
	// ErrNoRecords is returned for the directory of a process that never had a seat.
	ErrNoRecords = errors.New("the data directory has no records of a mesh: only a node that had a seat has them")
	// ErrEpochsUsedUp is returned if no epoch is left that is large enough.
	ErrEpochsUsedUp = errors.New("there is no larger epoch")
)

// Records are the contents of Raft's files in a directory, committed or not.
type Records struct {
	State State
	// Voters are the ids of the last configuration that the files have.
	Voters []string
	// epoch is the largest epoch that any entry could have led to.
	epoch       uint32
	index, term uint64
}

// ReadRecords reads the files that Start has written to a directory. Raft must not run
// there.
func ReadRecords(dir string, syncDir func(string) error, log hclog.Logger) (r Records, err error) {
	path := filepath.Join(dir, LogFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return Records{}, ErrNoRecords
	}
	s, err := raftstore.Open(path, syncDir)
	if err != nil {
		return Records{}, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, log)
	if err != nil {
		return Records{}, fmt.Errorf("open raft snapshots: %w", err)
	}
	m := &fsm{changed: wake.New()}
	if err := r.readSnapshot(snaps, m); err != nil {
		return Records{}, err
	}
	if err := r.readLog(s, m); err != nil {
		return Records{}, err
	}
	r.State = m.state()
	r.epoch = max(r.epoch, r.State.Epoch())
	if r.State.Cluster == nil || r.State.Epoch() == 0 {
		return Records{}, ErrNoRecords
	}
	return r, nil
}

// readSnapshot restores the newest snapshot that is not damaged.
func (r *Records) readSnapshot(snaps raft.SnapshotStore, m *fsm) error {
	list, err := snaps.List()
	if err != nil {
		return fmt.Errorf("list raft snapshots: %w", err)
	}
	var damaged []error
	for _, meta := range list {
		_, content, err := snaps.Open(meta.ID)
		if err == nil {
			err = m.Restore(content)
		}
		if err != nil {
			damaged = append(damaged, fmt.Errorf("raft snapshot %s: %w", meta.ID, err))
			*m = fsm{changed: m.changed}
			continue
		}
		r.index, r.term = meta.Index, meta.Term
		r.Voters = votersOf(meta.Configuration)
		return nil
	}
	return errors.Join(damaged...)
}

// readLog applies the entries of the log after the snapshot.
func (r *Records) readLog(s *raftstore.Store, m *fsm) error {
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	for i := max(first, r.index+1); i <= last && first > 0; i++ {
		var entry raft.Log
		if err := s.GetLog(i, &entry); err != nil {
			return fmt.Errorf("raft entry %d: %w", i, err)
		}
		r.index, r.term = entry.Index, entry.Term
		switch entry.Type {
		case raft.LogConfiguration:
			r.Voters = votersOf(raft.DecodeConfiguration(entry.Data))
		case raft.LogCommand:
			if out := m.Apply(&entry).(outcome); out.err != nil {
				return out.err
			}
			r.noteEpoch(entry.Data)
		default: // an entry of Raft itself
		}
	}
	return nil
}

// noteEpoch raises r.epoch to the epoch that a proposal led to if it took effect elsewhere.
func (r *Records) noteEpoch(data []byte) {
	var c peerv1.Command
	if proto.Unmarshal(data, &c) == nil && c.GetPropose() != nil {
		r.epoch = max(r.epoch, nextEpoch(c.GetPropose().GetPrevEpoch(), c.GetPropose().GetSeconds()))
	}
}

func votersOf(c raft.Configuration) (ids []string) {
	for _, s := range c.Servers {
		if s.Suffrage == raft.Voter {
			ids = append(ids, string(s.ID))
		}
	}
	return ids
}

// Recovered returns the first state of a new cluster of one member that continues where the records
// end: it has the constants and the history of the old cluster. All partitions are quarantined in
// it, because no member of an earlier view can answer any more (protocol, "Activation", step 2).
// Its epoch, and so its tokens, are larger than those of the old cluster, see recoveryLeap.
func (r Records) Recovered(id []byte, self ring.Member) (State, error) {
	seconds := secondsAt(time.Now())
	base := uint64(r.epoch)
	if seconds < maxSeconds {
		base = max(base, seconds)
	}
	if base+recoveryLeap > maxEpoch {
		return State{}, fmt.Errorf("%w: the last one was %d", ErrEpochsUsedUp, base)
	}
	s := r.State
	cluster := proto.CloneOf(s.Cluster)
	cluster.Replaces, cluster.Id = append(cluster.GetReplaces(), cluster.GetId()), slices.Clone(id)
	s.Cluster = cluster
	v := ring.View{
		Epoch: uint32(base + recoveryLeap), Placement: ring.Placement, Release: s.View().Release, Members: []ring.Member{self},
	}
	v.Replicas = Replicas(s.Constants(), v)
	s.History = s.History.Append(v)
	return s, nil
}

// Write writes files into an empty directory from which Start begins with state s and one voter.
// They are synced when it returns.
func (r Records) Write(dir string, syncDir func(string) error, log hclog.Logger, s State, voter string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	st, err := raftstore.Open(filepath.Join(dir, LogFile), syncDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	// Raft's term is never lower than the term of an entry.
	if err := st.SetTerm(r.term); err != nil {
		return fmt.Errorf("write raft's term: %w", err)
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, log)
	if err != nil {
		return fmt.Errorf("open raft snapshots: %w", err)
	}
	one := raft.Configuration{Servers: []raft.Server{
		{Suffrage: raft.Voter, ID: raft.ServerID(voter), Address: raft.ServerAddress(voter)},
	}}
	sink, err := snaps.Create(raft.SnapshotVersionMax, r.index+1, r.term, one, r.index+1, justNames{})
	if err != nil {
		return fmt.Errorf("write raft snapshot: %w", err)
	}
	if err := (snapshot{s}).Persist(sink); err != nil {
		return fmt.Errorf("write raft snapshot: %w", err)
	}
	return syncDir(dir)
}

// justNames is the part of a transport that a snapshot store needs.
type justNames struct{ raft.Transport }

// EncodePeer implements raft.Transport.
func (justNames) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte { return []byte(addr) }
