package view

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/owner/mutant"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// fsm is Raft's state machine: the rules V0 and V2.
type fsm struct {
	// changed is told, without blocking, after every new view.
	changed chan struct{}
	mu      sync.Mutex
	now     State // guarded by mu
}

var _ raft.FSM = (*fsm)(nil)

// outcome is what a command did.
type outcome struct {
	// term is the Raft term of the command's own entry.
	term uint64
	// applied: a Found or Propose took effect, and state is what it led to.
	applied bool
	state   State
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any {
	var c peerv1.Command
	if err := proto.Unmarshal(l.Data, &c); err != nil {
		// Only our own commands are ever appended; one that cannot be read means
		// that the log is damaged, and no member may go on from it.
		panic(fmt.Sprintf("view: raft entry %d cannot be decoded: %v", l.Index, err))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	out := outcome{term: l.Term}
	switch {
	case c.GetFound() != nil && f.now.Cluster == nil:
		cmd := c.GetFound()
		f.now.Cluster = cmd.GetCluster()
		f.append(ViewFromProto(cmd.GetView()), nextEpoch(0, cmd.GetSeconds()))
		out.applied = true
	case c.GetPropose() != nil:
		// V2: both the epoch and the term of the entry itself must fit, so that
		// neither concurrent proposals nor one of an earlier leadership can win.
		cmd := c.GetPropose()
		if cmd.GetPrevEpoch() == f.now.Epoch() && (cmd.GetTerm() == l.Term || mutant.On(mutant.NoTermCheck)) && f.now.Cluster != nil {
			f.append(ViewFromProto(cmd.GetView()), nextEpoch(f.now.Epoch(), cmd.GetSeconds()))
			out.applied = true
		}
	}
	out.state = f.now
	return out
}

// append needs f.mu.
func (f *fsm) append(v ring.View, epoch uint32) {
	v.Epoch = epoch
	f.now.History = f.now.History.Append(v)
	f.tell()
}

func (f *fsm) tell() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *fsm) state() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return snapshot{f.state()}, nil }

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close() //nolint:errcheck // it was only read from
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read raft snapshot: %w", err)
	}
	var h peerv1.History
	if err := proto.Unmarshal(data, &h); err != nil {
		return fmt.Errorf("decode raft snapshot: %w", err)
	}
	f.mu.Lock()
	f.now = StateFromProto(&h)
	f.mu.Unlock()
	f.tell()
	return nil
}

type snapshot struct{ state State }

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	data, err := proto.Marshal(StateToProto(s.state))
	if err == nil {
		_, err = sink.Write(data)
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}

// The commands of Raft's log. The proposer puts its seconds into those that make
// a view (protocol, "epoch").

func leadCommand() *peerv1.Command {
	return &peerv1.Command{Kind: &peerv1.Command_Lead_{Lead: &peerv1.Command_Lead{}}}
}

func foundCommand(c *peerv1.Cluster, seconds uint64, v ring.View) *peerv1.Command {
	return &peerv1.Command{Kind: &peerv1.Command_Found_{Found: &peerv1.Command_Found{
		Cluster: c, View: ViewToProto(v), Seconds: seconds,
	}}}
}

func proposeCommand(prev uint32, term, seconds uint64, v ring.View) *peerv1.Command {
	return &peerv1.Command{Kind: &peerv1.Command_Propose_{Propose: &peerv1.Command_Propose{
		PrevEpoch: prev, Term: term, Seconds: seconds, View: ViewToProto(v),
	}}}
}

// secondsAt is the wall clock as epochs count it; 0 before epochZero.
func secondsAt(now time.Time) uint64 { return uint64(max(now.Unix()-epochZero.Unix(), 0)) }
