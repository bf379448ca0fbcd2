package epoch

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// ErrOtherCluster is returned for a state of another cluster (V0).
var ErrOtherCluster = errors.New("another cluster")

// Config is what [Views] needs to know.
type Config struct {
	// Follow is called with the first state before it is installed, and makes the service. If it
	// returns an error the state is refused.
	Follow func(view.State) (*owner.Service, error)
	// Fits is called with every newer view before it is installed. If it returns an error the view
	// is refused.
	Fits func(ring.View) error
	// Lease is the length of a lease until there is a view.
	Lease time.Duration
	Log   *slog.Logger
}

// Views holds the view in which this process acts, and installs newer ones. It is safe for
// concurrent use.
type Views struct {
	cfg Config

	// mu serialises offers.
	mu  sync.Mutex
	cur atomic.Pointer[View]

	changedMu sync.Mutex
	changed   chan struct{} // closed and replaced at every change; guarded by changedMu
	// counts is the number of installed views by reason, see Counts; guarded by changedMu.
	counts map[string]uint64
}

// New returns the Views of a process that has no view yet.
func New(cfg Config) *Views {
	return &Views{cfg: cfg, changed: make(chan struct{}), counts: map[string]uint64{}}
}

// Now returns the view that this process acts in, nil before its first one.
func (v *Views) Now() *View { return v.cur.Load() }

// Epoch returns the epoch of Now; 0 before the first view.
func (v *Views) Epoch() uint32 {
	if now := v.Now(); now != nil {
		return now.Epoch
	}
	return 0
}

// Lease returns the length of a lease (V4): the cluster's once there is a view, before that the
// configured one.
func (v *Views) Lease() time.Duration {
	if now := v.Now(); now != nil {
		return now.Constants().Lease()
	}
	return v.cfg.Lease
}

// Changed returns a channel that is closed at the next change of Now, and at the next Wake.
func (v *Views) Changed() <-chan struct{} {
	v.changedMu.Lock()
	defer v.changedMu.Unlock()
	return v.changed
}

// Wake wakes everything that waits for Changed, because the lease has run out (Q4).
func (v *Views) Wake() {
	v.changedMu.Lock()
	defer v.changedMu.Unlock()
	close(v.changed)
	v.changed = make(chan struct{})
}

// Offer installs a state if it is newer. When it returns nil this process acts in the offered view
// or a later one, and has dropped everything older (A1).
func (v *Views) Offer(s view.State) error {
	if s.Cluster == nil || s.Epoch() == 0 {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.cur.Load()
	if old != nil && !bytes.Equal(old.State.Cluster.GetId(), s.Cluster.GetId()) {
		return ErrOtherCluster
	}
	if old != nil && s.Epoch() <= old.Epoch {
		return nil
	}
	if err := v.cfg.Fits(s.View()); err != nil {
		return err
	}
	r, err := ring.Build(s.View(), int(s.Cluster.GetPartitions()))
	if err != nil {
		return fmt.Errorf("place %v: %w", s.View(), err)
	}
	next := &View{View: s.View(), State: s, Ring: r}
	if old != nil {
		next.Service = old.Service
	} else if next.Service, err = v.cfg.Follow(s); err != nil {
		return err
	}
	// The service comes first, so that nobody sees a view in which the service does not act yet.
	next.Service.Install(s.History, r)
	v.cur.Store(next)
	v.count(old, next.View)
	v.cfg.Log.Info("installed view", "epoch", s.Epoch(), "view", s.View().String())
	v.Wake()
	return nil
}
