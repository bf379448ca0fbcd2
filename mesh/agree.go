package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// epochZero is where the seconds in epochs are counted from.
var epochZero = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// maxSeconds: seconds from here on are ignored, so that an epoch always fits 31
// bits (protocol, "epoch"): a clock that is wrong by decades leaves room for a
// million further views.
const maxSeconds = 1<<31 - 1<<20

// state is what Raft agrees on: the cluster's constants and its last views. It is
// a value; nobody changes one that was handed on.
type state struct {
	cluster *peerv1.Cluster
	history ring.History
}

func (s state) view() ring.View { return s.history.Current() }
func (s state) epoch() uint32   { return s.view().Epoch }

// nextEpoch is max(previous + 1, seconds), seconds being ignored when they are
// out of range.
func nextEpoch(prev uint32, seconds uint64) uint32 {
	if seconds < maxSeconds {
		return max(prev+1, uint32(seconds))
	}
	return prev + 1
}

// fsm is Raft's state machine: the rules V0 and V2.
type fsm struct {
	// changed is told, without blocking, after every new view.
	changed chan struct{}
	mu      sync.Mutex
	now     state // guarded by mu
}

var _ raft.FSM = (*fsm)(nil)

// outcome is what a command did.
type outcome struct {
	// term is the Raft term of the command's own entry.
	term uint64
	// applied: a Found or Propose took effect, and state is what it led to.
	applied bool
	state   state
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any {
	var c peerv1.Command
	if err := proto.Unmarshal(l.Data, &c); err != nil {
		// Only our own commands are ever appended; one that cannot be read means
		// that the log is damaged, and no member may go on from it.
		panic(fmt.Sprintf("mesh: raft entry %d cannot be decoded: %v", l.Index, err))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	out := outcome{term: l.Term}
	switch {
	case c.GetFound() != nil && f.now.cluster == nil:
		cmd := c.GetFound()
		f.now.cluster = cmd.GetCluster()
		f.append(viewFromProto(cmd.GetView()), nextEpoch(0, cmd.GetSeconds()))
		out.applied = true
	case c.GetPropose() != nil:
		// V2: both the epoch and the term of the entry itself must fit, so that
		// neither concurrent proposals nor one of an earlier leadership can win.
		cmd := c.GetPropose()
		if cmd.GetPrevEpoch() == f.now.epoch() && cmd.GetTerm() == l.Term && f.now.cluster != nil {
			f.append(viewFromProto(cmd.GetView()), nextEpoch(f.now.epoch(), cmd.GetSeconds()))
			out.applied = true
		}
	}
	out.state = f.now
	return out
}

// append needs f.mu.
func (f *fsm) append(v ring.View, epoch uint32) {
	v.Epoch = epoch
	f.now.history = f.now.history.Append(v)
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *fsm) state() state {
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
	f.now = stateFromProto(&h)
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default:
	}
	return nil
}

type snapshot struct{ state state }

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	data, err := proto.Marshal(stateToProto(s.state))
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

// agreement is this process's part in Raft: the only file that speaks to it.
type agreement struct {
	raft      *raft.Raft
	fsm       *fsm
	transport *raft.NetworkTransport
	store     io.Closer
	self      raft.ServerID
	log       *slog.Logger
	raftLog   *hcLog
	// existing: Raft has state from an earlier run, or was bootstrapped.
	existing bool
}

// raftFile is the name of Raft's log in its directory.
const raftFile = "raft.db"

// agreeConfig is what an agreement is made of.
type agreeConfig struct {
	id    string
	dir   string // "" keeps everything in memory
	lease time.Duration
	layer raft.StreamLayer
	log   *slog.Logger
}

func startAgreement(cfg agreeConfig) (*agreement, error) {
	a := &agreement{fsm: &fsm{changed: make(chan struct{}, 1)}, self: raft.ServerID(cfg.id), log: cfg.log}
	logs, stable, snaps, err := a.openStores(cfg)
	if err != nil {
		return nil, err
	}
	logger := newHCLog(cfg.log.With("part", "raft"))
	a.raftLog = logger
	a.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: cfg.layer, MaxPool: 2, Timeout: cfg.lease / 5, Logger: logger,
	})
	a.existing, err = raft.HasExistingState(logs, stable, snaps)
	if err == nil {
		a.raft, err = raft.NewRaft(raftConfig(cfg, logger), a.fsm, logs, stable, snaps, a.transport)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start raft: %w", err), a.transport.Close(), a.store.Close())
	}
	return a, nil
}

// raftConfig derives every interval from the lease: V4 wants an election to take
// well under it, so that a change of leader costs nobody its lease.
func raftConfig(cfg agreeConfig, logger *hcLog) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(cfg.id)
	c.HeartbeatTimeout = cfg.lease / 5
	c.ElectionTimeout = cfg.lease / 5
	c.LeaderLeaseTimeout = cfg.lease / 8
	c.CommitTimeout = max(cfg.lease/200, time.Millisecond)
	c.SnapshotThreshold = 256
	c.TrailingLogs = 128
	c.NoLegacyTelemetry = true
	c.ShutdownOnRemove = false
	c.Logger = logger
	return c
}

// retime derives the timeouts from the cluster's lease, which may not be the
// file's (V4).
func (a *agreement) retime(lease time.Duration) {
	c := a.raft.ReloadableConfig()
	if c.HeartbeatTimeout == lease/5 {
		return
	}
	c.HeartbeatTimeout, c.ElectionTimeout = lease/5, lease/5
	if err := a.raft.ReloadConfig(c); err != nil {
		a.log.Warn("raft keeps the timeouts of the configured lease", "error", err)
	}
}

func (a *agreement) openStores(cfg agreeConfig) (raft.LogStore, raft.StableStore, raft.SnapshotStore, error) {
	if cfg.dir == "" {
		s := raft.NewInmemStore()
		a.store = io.NopCloser(nil)
		return s, s, raft.NewInmemSnapshotStore(), nil
	}
	if err := os.MkdirAll(cfg.dir, 0o700); err != nil {
		return nil, nil, nil, fmt.Errorf("make raft's directory: %w", err)
	}
	s, err := openStore(filepath.Join(cfg.dir, raftFile))
	if err != nil {
		return nil, nil, nil, err
	}
	a.store = s
	snaps, err := raft.NewFileSnapshotStoreWithLogger(cfg.dir, 2, newHCLog(cfg.log.With("part", "raft")))
	if err != nil {
		return nil, nil, nil, errors.Join(fmt.Errorf("open raft snapshots: %w", err), s.Close())
	}
	return s, s, snaps, nil
}

// found makes this process the first voter of a new cluster (V0).
func (a *agreement) bootstrap() error {
	err := a.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{
		// Raft knows processes by their ids alone, see raftLayer.
		{Suffrage: raft.Voter, ID: a.self, Address: raft.ServerAddress(a.self)},
	}}).Error()
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("bootstrap raft: %w", err)
	}
	return nil
}

// apply appends a command and waits until it is applied here. An error says
// nothing about whether it will be: that is why proposals name the epoch and the
// term. ctx ends the wait, because raft's own future can hang without a quorum
// (hashicorp/raft issue 498).
func (a *agreement) apply(ctx context.Context, c *peerv1.Command) (outcome, error) {
	data, err := proto.Marshal(c)
	if err != nil {
		return outcome{}, fmt.Errorf("encode command: %w", err)
	}
	f := a.raft.Apply(data, 0)
	if err := await(ctx, f); err != nil {
		return outcome{}, fmt.Errorf("apply command: %w", err)
	}
	return f.Response().(outcome), nil
}

// await waits for a future or the context, whichever is first. The goroutine
// ends with the future, at the latest when raft shuts down.
func await(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// lead commits the first command of a leadership and gives its term (V2).
func (a *agreement) lead(ctx context.Context) (uint64, error) {
	out, err := a.apply(ctx, &peerv1.Command{Kind: &peerv1.Command_Lead_{Lead: &peerv1.Command_Lead{}}})
	return out.term, err
}

// propose replaces the view prev if the term still fits (V2). applied is false
// when it did not take effect.
func (a *agreement) propose(ctx context.Context, prev uint32, term uint64, v ring.View) (state, bool, error) {
	out, err := a.apply(ctx, &peerv1.Command{Kind: &peerv1.Command_Propose_{Propose: &peerv1.Command_Propose{
		PrevEpoch: prev, Term: term, Seconds: wallSeconds(), View: viewToProto(v),
	}}})
	return out.state, out.applied, err
}

// found commits the cluster's first view (V0).
func (a *agreement) found(ctx context.Context, c *peerv1.Cluster, v ring.View) error {
	_, err := a.apply(ctx, &peerv1.Command{Kind: &peerv1.Command_Found_{Found: &peerv1.Command_Found{
		Cluster: c, View: viewToProto(v), Seconds: wallSeconds(),
	}}})
	return err
}

func wallSeconds() uint64 { return uint64(max(time.Since(epochZero)/time.Second, 0)) }

// term is this process's Raft term. A voter raises it, on disk, before it votes
// in it.
func (a *agreement) term() uint64    { return a.raft.CurrentTerm() }
func (a *agreement) applied() uint64 { return a.raft.AppliedIndex() }

// leader gives the id of the leader as far as this process knows, or "".
func (a *agreement) leader() string {
	_, id := a.raft.LeaderWithID()
	return string(id)
}

func (a *agreement) leads() bool { return a.raft.State() == raft.Leader }

// seats lists the servers of Raft's latest configuration.
func (a *agreement) seats() ([]seat, error) {
	f := a.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, fmt.Errorf("read raft configuration: %w", err)
	}
	var seats []seat
	for _, s := range f.Configuration().Servers {
		seats = append(seats, seat{id: string(s.ID), voter: s.Suffrage == raft.Voter})
	}
	return seats, nil
}

// reseat makes one change of the configuration and waits for it.
func (a *agreement) reseat(ctx context.Context, c change) error {
	id, addr := raft.ServerID(c.id), raft.ServerAddress(c.id)
	var f raft.Future
	switch c.kind {
	case changeStage:
		f = a.raft.AddNonvoter(id, addr, 0, 0)
	case changePromote:
		f = a.raft.AddVoter(id, addr, 0, 0)
	case changeDemote:
		f = a.raft.DemoteVoter(id, 0, 0)
	case changeRemove:
		f = a.raft.RemoveServer(id, 0, 0)
	case changeTransfer:
		f = a.raft.LeadershipTransfer()
	default:
		return nil
	}
	if err := await(ctx, f); err != nil {
		return fmt.Errorf("%v: %w", c, err)
	}
	return nil
}

func (a *agreement) close() error {
	a.raftLog.silence() // it reports every stream that is closed with it
	return errors.Join(a.raft.Shutdown().Error(), a.transport.Close(), a.store.Close())
}
