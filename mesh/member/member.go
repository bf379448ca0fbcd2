package member

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/gossip"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// LeaveTime is how long a leaving member waits while nothing changes, and then for the answer to
// its last request (V7).
const LeaveTime = 10 * time.Second

// Config is what a Member needs of its process.
type Config struct {
	// Self is what other processes are told about this one. Releases are those that it works with.
	Self     ring.Member
	Releases release.Range
	// Volatile: everything is kept in memory, so this process gives up its seat when it leaves.
	Volatile bool
	Views    *epoch.Views
	Calls    Calls
	Raft     Raft
	// Processes returns the processes that gossip considers live.
	Processes func() []gossip.Process
	// Address returns the peer address of the process with an id, "" if it is not known.
	Address func(id string) string
	// Complaints returns the members for which this one has waited for too long (V6), and Claims
	// those whose own calls have reached it, if it is a voter (V5).
	Complaints func(v *epoch.View) []*peerv1.Identity
	Claims     func(v *epoch.View) []*peerv1.Identity
	// Doubled is called with whether another process with this one's id is a member (V3).
	Doubled func(is bool)
	// Leased is called whenever this process was granted a lease.
	Leased func()
	Clock  func() time.Duration
	Log    *slog.Logger
}

// Calls are the calls that a Member makes; peer.Client implements them.
type Calls interface {
	Renew(ctx context.Context, addr string, req *peerv1.RenewRequest) (*peerv1.RenewResponse, error)
	Join(ctx context.Context, addr string, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error)
	Probe(ctx context.Context, m ring.Member, joiner *peerv1.Member) (*peerv1.ProbeResponse, error)
	// NoteReached notes that the voter with this id has answered (V5).
	NoteReached(voter string)
}

// Raft is what a Member needs of this process's Raft.
type Raft interface {
	// Leader returns the id of the leader, "" if it is not known.
	Leader() string
	// DiskError returns why the records of votes cannot be written, or nil.
	DiskError() error
}

// Member is this process's side of its membership: it joins (V3), keeps its
// lease (V4) and leaves (V7). One goroutine runs it.
type Member struct {
	cfg  Config
	kick wake.Signal
	// left is closed when this process may stop; ended when Run has returned.
	left, ended chan struct{}
	leftOnce    sync.Once
	// stopping: GiveUp has returned.
	stopping atomic.Bool

	mu sync.Mutex // guards what follows
	// leader is the id of the last leader that granted a lease, and voters are the ids of the
	// voters that it named.
	leader string
	voters []string
	// asked determines the process to ask next.
	asked asked
	// leaving: Leave was called (V7). handedOver: this process holds nothing any more and asks to
	// be let go. forGood: it gives up the Raft seat, too.
	leaving, handedOver, forGood bool
	// why is why the last attempt to join failed, for Ready.
	why string

	// Only Run uses what follows.
	parting parting
	joining joining
}

// New returns the Member of a process that is not a member yet.
func New(cfg Config) *Member {
	return &Member{
		cfg: cfg, kick: wake.New(), left: make(chan struct{}), ended: make(chan struct{}),
		parting: parting{unanswered: map[string]int{}},
	}
}

// Leader returns the id of the last leader that granted this process a lease, or "".
func (m *Member) Leader() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leader
}

// Why returns why the last attempt to join failed, or "".
func (m *Member) Why() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.why
}

// Voters returns the ids of the voters that the last leader named, see Leader.
func (m *Member) Voters() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.voters
}

// Hint returns the peer address of the leader according to the last answer, or "".
func (m *Member) Hint() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked.hint
}

func (m *Member) leased() bool {
	a := m.cfg.Views.Now()
	return a != nil && a.Service.LeaseValid()
}

func (m *Member) wake() { m.kick.Set() }

// Dismiss lets this process stop (V7).
func (m *Member) Dismiss() { m.leftOnce.Do(func() { close(m.left) }) }

// Run joins and renews until ctx ends or the member has left. It returns an error if this process
// cannot join.
func (m *Member) Run(ctx context.Context) error {
	defer close(m.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	had := false
	for {
		changed := m.cfg.Views.Changed()
		select {
		case <-ctx.Done():
			return nil
		case <-m.left:
			return nil
		case <-timer.C:
		case <-m.kick:
		case <-changed:
			// After it was admitted to a view, this process has no lease yet and asks for one at
			// once.
			if m.leased() {
				continue
			}
		}
		pause, err := m.step(ctx)
		if err != nil {
			return err
		}
		if leased := m.leased(); leased != had {
			had = leased
			if !leased {
				m.cfg.Views.Wake() // Q4: waiting calls learn of it
			}
		}
		select {
		case <-m.left:
			return nil
		default:
		}
		timer.Reset(pause)
	}
}

// step makes one attempt to renew or to join, and returns the time until the next one.
func (m *Member) step(ctx context.Context) (time.Duration, error) {
	lease := m.cfg.Views.Lease()
	a := m.cfg.Views.Now()
	m.mu.Lock()
	leaving := m.leaving
	m.mu.Unlock()
	if a != nil {
		if _, in := a.Find(m.cfg.Self.Identity); in {
			if m.renew(ctx, a) && !leaving {
				return lease / 5, nil
			}
			return lease / 40, nil // V7: a leaving member soon learns of the answer
		}
		a.Service.EndLease()
	}
	if leaving {
		m.part(ctx, a)
		return lease / 40, nil
	}
	return lease / 20, m.join(ctx, a)
}

// Ready returns why this node may not serve, or nil.
func (m *Member) Ready() error {
	a := m.cfg.Views.Now()
	m.mu.Lock()
	why, gone := m.why, m.handedOver
	m.mu.Unlock()
	switch {
	case gone:
		return &sharelock.Error{Err: sharelock.ErrNotReady, Message: "this node has left the mesh", RetryAfter: time.Second}
	case a == nil:
		return &sharelock.Error{Err: sharelock.ErrNotReady, Message: "this node is in no view yet: " + why, RetryAfter: time.Second}
	case !a.Service.LeaseValid():
		if _, in := a.Find(m.cfg.Self.Identity); !in {
			return &sharelock.Error{Err: sharelock.ErrNotReady, Message: "this node is not in the view: " + why, RetryAfter: time.Second}
		}
		return &sharelock.Error{Err: sharelock.ErrNoQuorum, Message: "this node is cut off: its lease has run out", RetryAfter: time.Second}
	}
	return nil
}
