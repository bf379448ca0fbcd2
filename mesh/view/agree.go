package view

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/wake"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// fsm is Raft's state machine: the rules V0 and V2.
//
// It stops at a command that it does not know (W3). If it skipped the command, its state would
// diverge from the others.
type fsm struct {
	// changed is set, without blocking, after every new view.
	changed wake.Signal
	// unknown, if it is not nil, is called once, when the machine stops.
	unknown func(error)
	// program is the range of releases that this program works with; zero means its own range.
	program release.Range

	mu  sync.Mutex
	now State // guarded by mu
	// stopped is why the machine has stopped applying commands, or nil. Guarded by mu.
	stopped error
}

var _ raft.FSM = (*fsm)(nil)

// outcome is what a command did.
type outcome struct {
	// term is the Raft term of the command's own entry.
	term uint64
	// applied is true if a Found or Propose took effect. state is the state after the command.
	applied bool
	state   State
	// err is set if the machine has stopped, at this command or before it.
	err error
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any {
	f.mu.Lock()
	out := outcome{term: l.Term}
	var stops error
	if f.stopped == nil {
		if out.applied, stops = f.apply(l); stops != nil {
			f.stopped = fmt.Errorf("raft entry %d: %w", l.Index, stops)
		}
	}
	out.state, out.err = f.now, f.stopped
	f.mu.Unlock()
	if stops != nil && f.unknown != nil {
		f.unknown(out.err)
	}
	return out
}

// apply reports whether a Found or Propose took effect. For a command that this program does not
// know it returns an error and changes nothing. It needs f.mu.
func (f *fsm) apply(l *raft.Log) (applied bool, err error) {
	var c peerv1.Command
	if err := proto.Unmarshal(l.Data, &c); err != nil {
		return false, fmt.Errorf("%w: %w", release.ErrUnknown, err)
	}
	next, done, err := f.now.extra.apply(&c, f.program.OrOwn())
	if err != nil {
		return false, err
	}
	if !done {
		if err := known(&c); err != nil {
			return false, err
		}
	}
	switch {
	case c.GetFound() != nil && f.now.Cluster == nil:
		cmd := c.GetFound()
		v := ringproto.DecodeView(cmd.GetView())
		if err := f.program.OrOwn().Check(v.Release); err != nil {
			return false, err
		}
		f.now.Cluster = cmd.GetCluster()
		f.append(v, nextEpoch(0, cmd.GetSeconds()))
		applied = true
	case c.GetPropose() != nil:
		// V2: both the epoch and the term of the entry itself must match, so that at most one of
		// several concurrent proposals takes effect, and none of an earlier leadership.
		cmd := c.GetPropose()
		if cmd.GetPrevEpoch() == f.now.Epoch() && cmd.GetTerm() == l.Term && f.now.Cluster != nil {
			v := ringproto.DecodeView(cmd.GetView())
			v.Release = max(v.Release, f.now.View().Release) // it never falls (W1)
			if err := f.program.OrOwn().Check(v.Release); err != nil {
				return false, err
			}
			f.append(v, nextEpoch(f.now.Epoch(), cmd.GetSeconds()))
			applied = true
		}
	}
	f.now.extra = next
	return applied, nil
}

// known returns [release.ErrUnknown] if a command or a state contains something that this program
// does not know. Every field in them has a meaning, so none can be ignored.
func known(m proto.Message) error {
	if c, ok := m.(*peerv1.Command); ok && c.GetKind() == nil {
		return fmt.Errorf("%w: a command of another kind; this program is release %d", release.ErrUnknown, release.Current)
	}
	return knownFields(m.ProtoReflect())
}

func knownFields(m protoreflect.Message) (err error) {
	if len(m.GetUnknown()) > 0 {
		return fmt.Errorf("%w: a field of %s; this program is release %d", release.ErrUnknown, m.Descriptor().Name(), release.Current)
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap():
		case f.IsList():
			for i := 0; i < v.List().Len() && err == nil; i++ {
				err = knownFields(v.List().Get(i).Message())
			}
		default:
			err = knownFields(v.Message())
		}
		return err == nil
	})
	return err
}

// append adds a view to the history. It needs f.mu.
func (f *fsm) append(v ring.View, epoch uint32) {
	v.Epoch = epoch
	f.now.History = f.now.History.Append(v)
	f.changed.Set()
}

func (f *fsm) state() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// why returns why the machine has stopped, or nil.
func (f *fsm) why() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stopped
}

// Snapshot implements raft.FSM. A machine that has stopped returns an error: Raft would take the
// snapshot for the state after entries that the machine has not applied.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return snapshot{f.now}, f.stopped
}

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close() //nolint:errcheck // it was only read from
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read raft snapshot: %w", err)
	}
	s, err := decodeSnapshot(data, f.program.OrOwn())
	f.mu.Lock()
	if err == nil {
		f.now = s
	} else {
		f.stopped = fmt.Errorf("raft snapshot: %w", err)
	}
	stopped := f.stopped
	f.mu.Unlock()
	if stopped != nil {
		if f.unknown != nil {
			f.unknown(stopped)
		}
		return stopped
	}
	f.changed.Set()
	return nil
}

// decodeSnapshot returns [release.ErrNewer] if the release of the state's view is too new for this
// program.
func decodeSnapshot(data []byte, program release.Range) (State, error) {
	var p peerv1.Snapshot
	if err := proto.Unmarshal(data, &p); err != nil {
		return State{}, fmt.Errorf("it is damaged: %w", err)
	}
	// The release is checked first, because it explains any unknown field. A state from before the
	// cluster was founded has no release.
	if p.GetRelease() > 0 || len(p.GetHistory().GetViews()) > 0 {
		if err := program.Check(p.GetRelease()); err != nil {
			return State{}, err
		}
	}
	s := StateFromProto(p.GetHistory())
	if err := s.extra.restore(&p); err != nil {
		return State{}, err
	}
	return s, known(&p)
}

func encodeSnapshot(s State) ([]byte, error) {
	p := &peerv1.Snapshot{Release: s.View().Release, History: StateToProto(s)}
	s.extra.save(p)
	return proto.Marshal(p)
}

type snapshot struct{ state State }

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	data, err := encodeSnapshot(s.state)
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

// The commands of Raft's log. Those that make a view contain the seconds of the proposer's clock
// (protocol, "epoch").

func leadCommand() *peerv1.Command {
	return &peerv1.Command{Kind: &peerv1.Command_Lead_{Lead: &peerv1.Command_Lead{}}}
}

func foundCommand(c *peerv1.Cluster, seconds uint64, v ring.View) *peerv1.Command {
	return &peerv1.Command{Kind: &peerv1.Command_Found_{Found: &peerv1.Command_Found{
		Cluster: c, View: ringproto.EncodeView(v), Seconds: seconds,
	}}}
}

func proposeCommand(prev uint32, term, seconds uint64, v ring.View) *peerv1.Command {
	return &peerv1.Command{Kind: &peerv1.Command_Propose_{Propose: &peerv1.Command_Propose{
		PrevEpoch: prev, Term: term, Seconds: seconds, View: ringproto.EncodeView(v),
	}}}
}

// secondsAt returns the seconds from epochZero to now, or 0 before epochZero.
func secondsAt(now time.Time) uint64 { return uint64(max(now.Unix()-epochZero.Unix(), 0)) }
