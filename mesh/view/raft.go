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

	// library is nil until Begin, when begun is closed.
	library atomic.Pointer[raft.Raft]
	begun   chan struct{}
	// transfers are the voters that were asked to take leadership over.
	transfers transfers

	mu        sync.Mutex // guards what follows; held while the library starts and ends
	closed    bool
	transport *raft.NetworkTransport
	ballots   *ballots
}

var _ Agreement = (*Raft)(nil)

// LogFile is the name of Raft's log in its directory.
const LogFile = "raft.db"

// Config is what a Raft is made of.
type Config struct {
	// ID is the stable id of this process.
	ID string
	// Dir is the directory of Raft's records; "" keeps everything in memory.
	Dir string
	// SyncDir makes the names in a directory survive a crash; needed with Dir.
	SyncDir func(path string) error
	// Lease is the length of a view lease. It is the cluster's if LeaseKnown, else what
	// Bootstrap would make the cluster's.
	Lease time.Duration
	// LeaseKnown has Start begin at once; otherwise a process without records takes part from
	// Begin or Bootstrap on.
	LeaseKnown bool
	// Layer carries Raft's streams; Start takes it over if it returns no error.
	Layer raft.StreamLayer
	Log   *slog.Logger
	// RaftLog is for the library's own lines.
	RaftLog hclog.Logger
	// Unknown is called once if the state machine stops because it met what this program
	// does not know (W3); the process has to end then.
	Unknown func(error)
	// Program is the range of releases that this program works with; zero is its own.
	Program release.Range
	// Fault, if set, is called before each write of Raft's log, term and vote, which fails with
	// its error. It is for tests.
	Fault func() error
}

// Start opens Raft's records. This process takes part as what they say. If they are empty it takes part as
// nobody, until the cluster takes it in or Bootstrap makes it one; and not before it knows the cluster's
// lease, since the library fixes some intervals when it starts (V4).
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

// Begin takes part from now on, with intervals that derive from the cluster's lease. If this process
// takes part already, because it had records, those intervals are changed that can be.
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
		// One at a time. Raft's pipeline can stop for ever (in 1.8.0): if its sender takes
		// one turn more after the decoder has ended with a refusal, nobody empties either
		// of their channels. Such a follower gets heartbeats and no entries, and Shutdown
		// does not return.
		MaxRPCsInFlight: 1,
	})
	a.ballots = newBallots(a.transport)
	lib, err := raft.NewRaft(raftConfig(a.cfg, lease), a.fsm, a.logs, a.stable, a.snaps, a.ballots)
	if err != nil {
		// The library does not say why a snapshot was not taken; the machine knows.
		err = errors.Join(a.fsm.why(), err)
		a.closed = true // the transport has closed the layer
		return errors.Join(fmt.Errorf("start raft: %w", err), a.transport.Close())
	}
	a.library.Store(lib)
	a.ballots.start(a.latest)
	close(a.begun)
	return nil
}

// Begun is closed when this process takes part, see Begin.
func (a *Raft) Begun() <-chan struct{} { return a.begun }

// errNotBegun: this process takes no part yet.
var errNotBegun = errors.New("raft has not begun here")

// raftConfig derives every interval from the lease: V4 wants an election to take
// well under it, so that a change of leader costs nobody its lease.
func raftConfig(cfg Config, lease time.Duration) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(cfg.ID)
	c.HeartbeatTimeout = lease / 5
	c.ElectionTimeout = lease / 5
	c.LeaderLeaseTimeout = lease / 8
	// So often an idle leader tells the others what is committed, and that is most of what
	// an idle mesh costs. New views do not wait for it, as a leader pushes them itself; but
	// whoever is to become a voter does, see electorate.
	c.CommitTimeout = max(lease/20, time.Millisecond)
	c.SnapshotThreshold = 256
	c.TrailingLogs = 128
	c.NoLegacyTelemetry = true
	c.ShutdownOnRemove = false
	c.Logger = cfg.RaftLog
	return c
}

// retime derives the timeouts that can change from the cluster's lease. It differs from that with which
// Raft began only for a data directory that has Raft's records and not the cluster's lease.
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

// Bootstrap makes this process the first voter of a new cluster (V0), whose lease is the configured one.
func (a *Raft) Bootstrap() error {
	if err := a.Begin(a.cfg.Lease); err != nil {
		return err
	}
	err := a.library.Load().BootstrapCluster(raft.Configuration{Servers: []raft.Server{
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

// await makes a future and waits for it or for the context, whichever is first. Making it can
// block, too, as long as Raft waits for its disk. The goroutine ends with the future, at the
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

// State is what has been applied here.
func (a *Raft) State() State { return a.fsm.state() }

// Changed is told, without blocking, after every new view.
func (a *Raft) Changed() <-chan struct{} { return a.fsm.changed }

// Existing reports whether Raft had state from an earlier run when it started.
func (a *Raft) Existing() bool { return a.existing }

// LeaderCh is told when this process begins to lead and when it ceases to. It is nil until Begun.
func (a *Raft) LeaderCh() <-chan bool {
	if lib := a.library.Load(); lib != nil {
		return lib.LeaderCh()
	}
	return nil
}

// Term is this process's Raft term. A voter raises it, on disk, before it votes
// in it.
func (a *Raft) Term() uint64 {
	if lib := a.library.Load(); lib != nil {
		return lib.CurrentTerm()
	}
	return 0
}

// Applied is the index of the last entry that was applied here.
func (a *Raft) Applied() uint64 {
	if lib := a.library.Load(); lib != nil {
		return lib.AppliedIndex()
	}
	return 0
}

// Leader gives the id of the leader as far as this process knows, or "".
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

// Seats lists the servers of Raft's latest configuration.
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

// latest are the servers of the newest configuration, committed or not.
func (a *Raft) latest() []raft.Server {
	f := a.library.Load().GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// Reseat makes one change of the configuration and waits for it.
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

// HandOver gives leadership to another voter.
func (a *Raft) HandOver(ctx context.Context) error {
	return a.Reseat(ctx, Change{kind: changeTransfer})
}

// DiskError is why Raft's records could not be written last; nil if they could. Then this
// process does not vote.
func (a *Raft) DiskError() error {
	if a.disk == nil {
		return nil
	}
	return a.disk.Failed()
}

// Probe tries whether Raft's records can be written, see DiskError.
func (a *Raft) Probe() error {
	if a.disk == nil {
		return nil
	}
	return a.disk.Probe()
}

// Close takes part no more.
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
