package view

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/mesh/raftstore"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// Raft is this process's part in the Raft group that agrees on views. All methods
// may be called from several goroutines, until Close.
type Raft struct {
	cfg   Config
	fsm   *fsm
	store io.Closer
	// disk is nil when everything is kept in memory.
	disk     *raftstore.Store
	logs     raft.LogStore
	stable   raft.StableStore
	snaps    raft.SnapshotStore
	self     raft.ServerID
	log      *slog.Logger
	existing bool

	// library is nil until Begin, which also closes begun.
	library atomic.Pointer[raft.Raft]
	begun   chan struct{}
	// transfers are the voters that were asked to take over leadership.
	transfers transfers

	mu        sync.Mutex // guards what follows; held while the library starts and ends
	closed    bool
	transport *raft.NetworkTransport
	ballots   *ballots
}

var _ Agreement = (*Raft)(nil)

// LogFile is the name of Raft's log in its directory.
const LogFile = "raft.db"

// Config configures a Raft.
type Config struct {
	// ID is the stable id of this process.
	ID string
	// Dir is the directory of Raft's records; "" keeps everything in memory.
	Dir string
	// SyncDir syncs a directory, so that the names in it survive a crash. It is required with Dir.
	SyncDir func(path string) error
	// Lease is the length of a view lease: the cluster's if LeaseKnown is true, else the one that
	// Bootstrap gives to a new cluster.
	Lease time.Duration
	// LeaseKnown makes Start call Begin. Otherwise a process without records takes part only after
	// Begin or Bootstrap.
	LeaseKnown bool
	// Layer carries Raft's streams. Start takes ownership of it unless it returns an error.
	Layer raft.StreamLayer
	Log   *slog.Logger
	// RaftLog gets the library's own log lines.
	RaftLog hclog.Logger
	// Unknown is called once if the state machine stops at something that this program does not
	// know (W3). The process has to end then.
	Unknown func(error)
	// Program is the range of releases that this program works with; zero means its own range.
	Program release.Range
	// Fault, if set, is called before each write of Raft's log, term and vote, which fails with
	// its error. It is for tests.
	Fault func() error
}

// Start opens Raft's records. This process takes part in the role that they record. Without records
// it has no role until the cluster adds it or Bootstrap founds a cluster. Raft does not run before
// the cluster's lease is known, because the library fixes some intervals when it starts (V4).
func Start(cfg Config) (*Raft, error) {
	a := &Raft{
		cfg: cfg, fsm: &fsm{changed: wake.New(), unknown: cfg.Unknown, program: cfg.Program},
		self: raft.ServerID(cfg.ID), log: cfg.Log, begun: make(chan struct{}),
	}
	err := a.openStores(cfg)
	if err != nil {
		return nil, err
	}
	if a.existing, err = raft.HasExistingState(a.logs, a.stable, a.snaps); err != nil {
		return nil, errors.Join(fmt.Errorf("read raft's records: %w", err), a.store.Close())
	}
	if a.existing || cfg.LeaseKnown {
		if err := a.Begin(cfg.Lease); err != nil {
			return nil, errors.Join(err, a.store.Close())
		}
	}
	return a, nil
}

// Begin starts the library, with intervals that derive from the cluster's lease. If it runs
// already, because this process had records, Begin changes those intervals that can be changed.
func (a *Raft) Begin(lease time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return raft.ErrRaftShutdown
	}
	if lib := a.library.Load(); lib != nil {
		a.retime(lib, lease)
		return nil
	}
	a.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: a.cfg.Layer, MaxPool: 2, Timeout: lease / 5, Logger: a.cfg.RaftLog,
		// 1 disables Raft's pipeline, which can block forever (in 1.8.0): if its sender runs once
		// more after the decoder has ended with a refusal, nothing drains their channels. Then the
		// follower gets heartbeats but no entries, and Shutdown does not return.
		MaxRPCsInFlight: 1,
	})
	a.ballots = newBallots(a.transport)
	lib, err := raft.NewRaft(raftConfig(a.cfg, lease), a.fsm, a.logs, a.stable, a.snaps, a.ballots)
	if err != nil {
		// The library does not say why it could not restore a snapshot; the state machine does.
		err = errors.Join(a.fsm.why(), err)
		a.closed = true // the transport has closed the layer
		return errors.Join(fmt.Errorf("start raft: %w", err), a.transport.Close())
	}
	a.library.Store(lib)
	a.ballots.start(a.latest)
	close(a.begun)
	return nil
}

// Begun returns a channel that is closed when this process takes part, see Begin.
func (a *Raft) Begun() <-chan struct{} { return a.begun }

// errNotBegun is returned before this process takes part.
var errNotBegun = errors.New("raft has not begun here")

// raftConfig derives every interval from the lease: an election must take well under a lease, so
// that a change of leader costs no member its lease (V4).
func raftConfig(cfg Config, lease time.Duration) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(cfg.ID)
	c.HeartbeatTimeout = lease / 5
	c.ElectionTimeout = lease / 5
	c.LeaderLeaseTimeout = lease / 8
	// This is how often an idle leader tells the others what is committed, which is most of the
	// cost of an idle mesh. New views do not wait for it, because the leader pushes them itself. A
	// member that is to become a voter does wait for it, see electorate.
	c.CommitTimeout = max(lease/20, time.Millisecond)
	c.SnapshotThreshold = 256
	c.TrailingLogs = 128
	c.NoLegacyTelemetry = true
	c.ShutdownOnRemove = false
	c.Logger = cfg.RaftLog
	return c
}

// retime derives the timeouts that can still change from the cluster's lease. Raft began with
// another lease only if the data directory has Raft's records but not the cluster's lease.
func (a *Raft) retime(lib *raft.Raft, lease time.Duration) {
	c := lib.ReloadableConfig()
	if c.HeartbeatTimeout == lease/5 {
		return
	}
	c.HeartbeatTimeout, c.ElectionTimeout = lease/5, lease/5
	if err := lib.ReloadConfig(c); err != nil {
		a.log.Warn("raft keeps the timeouts of the configured lease", "error", err)
	}
}

func (a *Raft) openStores(cfg Config) error {
	if cfg.Dir == "" {
		s := raft.NewInmemStore()
		a.store, a.logs, a.stable, a.snaps = io.NopCloser(nil), s, s, raft.NewInmemSnapshotStore()
		return nil
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make raft's directory: %w", err)
	}
	s, err := raftstore.Open(filepath.Join(cfg.Dir, LogFile), cfg.SyncDir)
	if err != nil {
		return err
	}
	s.Fault = cfg.Fault
	a.store, a.disk, a.logs, a.stable = s, s, s, s
	if a.snaps, err = raft.NewFileSnapshotStoreWithLogger(cfg.Dir, 2, cfg.RaftLog); err != nil {
		return errors.Join(fmt.Errorf("open raft snapshots: %w", err), s.Close())
	}
	return nil
}

// Bootstrap makes this process the first voter of a new cluster (V0), whose lease is the configured
// one.
func (a *Raft) Bootstrap() error {
	if err := a.Begin(a.cfg.Lease); err != nil {
		return err
	}
	err := a.library.Load().BootstrapCluster(raft.Configuration{Servers: []raft.Server{
		// Raft knows processes by their ids alone, see package raftstream.
		{Suffrage: raft.Voter, ID: a.self, Address: raft.ServerAddress(a.self)},
	}}).Error()
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("bootstrap raft: %w", err)
	}
	return nil
}

// apply appends a command and waits until it is applied here. After an error it may still be
// applied; that is why proposals name the epoch and the term. ctx ends the wait, because Raft's own
// future can hang without a quorum (hashicorp/raft issue 498).
func (a *Raft) apply(ctx context.Context, c *peerv1.Command) (outcome, error) {
	data, err := proto.Marshal(c)
	if err != nil {
		return outcome{}, fmt.Errorf("encode command: %w", err)
	}
	lib := a.library.Load()
	if lib == nil {
		return outcome{}, errNotBegun
	}
	f, err := await(ctx, func() raft.ApplyFuture { return lib.Apply(data, 0) })
	if err != nil {
		return outcome{}, fmt.Errorf("apply command: %w", err)
	}
	out := f.Response().(outcome)
	return out, out.err
}

// await calls start and waits for its future or for the end of the context, whichever is first.
// start can block, too, while Raft waits for its disk. The goroutine ends with the future, at the
// latest when Raft shuts down.
func await[F raft.Future](ctx context.Context, start func() F) (F, error) {
	var f F
	done := make(chan error, 1)
	go func() {
		f = start()
		done <- f.Error()
	}()
	select {
	case err := <-done:
		return f, err
	case <-ctx.Done():
		var none F
		return none, context.Cause(ctx)
	}
}

// Lead implements Agreement.
func (a *Raft) Lead(ctx context.Context) (uint64, error) {
	out, err := a.apply(ctx, leadCommand())
	return out.term, err
}

// Propose implements Agreement.
func (a *Raft) Propose(ctx context.Context, prev uint32, term uint64, v ring.View) (State, bool, error) {
	c := proposeCommand(prev, term, secondsAt(time.Now()), v)
	if err := a.beforeProposal(ctx, c); err != nil {
		return State{}, false, err
	}
	out, err := a.apply(ctx, c)
	return out.state, out.applied, err
}

// Found commits the cluster's first view (V0).
func (a *Raft) Found(ctx context.Context, c *peerv1.Cluster, v ring.View) error {
	_, err := a.apply(ctx, foundCommand(c, secondsAt(time.Now()), v))
	return err
}

// State returns what has been applied here.
func (a *Raft) State() State { return a.fsm.state() }

// Changed returns a channel on which a value is ready after a new view.
func (a *Raft) Changed() <-chan struct{} { return a.fsm.changed }

// Existing reports whether Raft had state from an earlier run when it started.
func (a *Raft) Existing() bool { return a.existing }

// LeaderCh returns a channel that receives true when this process begins to lead, and false when it
// ceases to. It is nil before Begin.
func (a *Raft) LeaderCh() <-chan bool {
	if lib := a.library.Load(); lib != nil {
		return lib.LeaderCh()
	}
	return nil
}

// Term returns this process's Raft term. A voter raises its term, on disk, before it votes in it.
func (a *Raft) Term() uint64 {
	if lib := a.library.Load(); lib != nil {
		return lib.CurrentTerm()
	}
	return 0
}

// Applied returns the index of the last entry that was applied here.
func (a *Raft) Applied() uint64 {
	if lib := a.library.Load(); lib != nil {
		return lib.AppliedIndex()
	}
	return 0
}

// Leader returns the id of the leader as far as this process knows it, or "".
func (a *Raft) Leader() string {
	lib := a.library.Load()
	if lib == nil {
		return ""
	}
	_, id := lib.LeaderWithID()
	return string(id)
}

// Leads implements Agreement.
func (a *Raft) Leads() bool {
	lib := a.library.Load()
	return lib != nil && lib.State() == raft.Leader
}

// Seats returns the servers of Raft's latest configuration.
func (a *Raft) Seats() ([]Seat, error) {
	lib := a.library.Load()
	if lib == nil {
		return nil, errNotBegun
	}
	f := lib.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, fmt.Errorf("read raft configuration: %w", err)
	}
	var seats []Seat
	for _, s := range f.Configuration().Servers {
		seats = append(seats, Seat{ID: string(s.ID), Voter: s.Suffrage == raft.Voter})
	}
	return seats, nil
}

// Voters returns the ids of the voters of Raft's latest configuration, or none if it cannot be read.
// In a process without a seat the configuration may be old.
func (a *Raft) Voters() (ids []string) {
	seats, err := a.Seats()
	if err != nil {
		return nil
	}
	for _, s := range seats {
		if s.Voter {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// latest returns the servers of the newest configuration, committed or not.
func (a *Raft) latest() []raft.Server {
	f := a.library.Load().GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// Reseat makes one change of the configuration and waits until it is committed.
func (a *Raft) Reseat(ctx context.Context, c Change) error {
	lib := a.library.Load()
	if lib == nil {
		return errNotBegun
	}
	id, addr := raft.ServerID(c.id), raft.ServerAddress(c.id)
	var start func() raft.Future
	switch c.kind {
	case changeStage:
		start = func() raft.Future { return lib.AddNonvoter(id, addr, 0, 0) }
	case changePromote:
		start = func() raft.Future { return lib.AddVoter(id, addr, 0, 0) }
	case changeDemote:
		start = func() raft.Future { return lib.DemoteVoter(id, 0, 0) }
	case changeRemove:
		start = func() raft.Future { return lib.RemoveServer(id, 0, 0) }
	case changeTransfer:
		if err := a.transfer(ctx, lib, id); err != nil {
			return fmt.Errorf("%v: %w", c, err)
		}
		return nil
	default:
		return nil
	}
	if _, err := await(ctx, start); err != nil {
		return fmt.Errorf("%v: %w", c, err)
	}
	return nil
}

// Settle implements Agreement.
func (a *Raft) Settle(ctx context.Context) error {
	lib := a.library.Load()
	if lib == nil {
		return errNotBegun
	}
	if _, err := await(ctx, func() raft.Future { return lib.Barrier(0) }); err != nil {
		return fmt.Errorf("settle raft's log: %w", err)
	}
	return nil
}

// HandOver hands leadership to any other voter.
func (a *Raft) HandOver(ctx context.Context) error {
	return a.Reseat(ctx, Change{kind: changeTransfer})
}

// DiskError returns why the last write of Raft's records failed, or nil if it did not. While it
// fails this process does not vote.
func (a *Raft) DiskError() error {
	if a.disk == nil {
		return nil
	}
	return a.disk.Failed()
}

// Probe checks whether Raft's records can be written, see DiskError.
func (a *Raft) Probe() error {
	if a.disk == nil {
		return nil
	}
	return a.disk.Probe()
}

// Close stops the library and closes the records.
func (a *Raft) Close() error {
	if a.disk != nil {
		a.disk.Release()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return a.store.Close() // Begin has failed
	}
	a.closed = true
	lib := a.library.Load()
	if lib == nil {
		return errors.Join(a.cfg.Layer.Close(), a.store.Close())
	}
	err := lib.Shutdown().Error()
	a.ballots.close()
	return errors.Join(err, a.transport.Close(), a.store.Close())
}
