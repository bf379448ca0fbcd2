package mesh

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

func ns(n int64) time.Duration { return time.Duration(n) }

// acting is what a node acts in: one view with all that follows from it. It is
// immutable; a newer view makes a new one.
type acting struct {
	state   state
	view    ring.View
	ring    *ring.Ring
	service *owner.Service
}

func (a *acting) epoch() uint32               { return a.view.Epoch }
func (a *acting) cluster() constants          { return constants{a.state.cluster} }
func (a *acting) partition(key string) uint32 { return a.ring.Partition(key) }

// constants reads what is fixed at the cluster's birth.
type constants struct{ *peerv1.Cluster }

func (c constants) lease() time.Duration  { return ns(c.GetLeaseNs()) }
func (c constants) maxTTL() time.Duration { return ns(c.GetMaxTtlNs()) }
func (c constants) partitions() int       { return int(c.Cluster.GetPartitions()) }

// errOtherCluster: a process of another cluster spoke to us (V0).
var errOtherCluster = errors.New("another cluster")

// views is the node's way into newer views, whoever brings them: Raft, the
// leader, an answer to a renewal, or a peer that is ahead.
type views struct {
	// follow is called once, with the first state, before it is installed: it
	// makes the service. An error refuses the cluster.
	follow func(state) (*owner.Service, error)
	log    *slog.Logger

	// mu serialises offers.
	mu  sync.Mutex
	cur atomic.Pointer[acting]

	changedMu sync.Mutex
	changed   chan struct{} // closed and replaced at every change; guarded by changedMu
}

func newViews(follow func(state) (*owner.Service, error), log *slog.Logger) *views {
	return &views{follow: follow, log: log, changed: make(chan struct{})}
}

// now is what the node acts in, nil before its first view.
func (v *views) now() *acting { return v.cur.Load() }

// next is closed at the next change of now, or when the lease has run out.
func (v *views) next() <-chan struct{} {
	v.changedMu.Lock()
	defer v.changedMu.Unlock()
	return v.changed
}

// poke wakes whoever waits for next: the lease has run out.
func (v *views) poke() {
	v.changedMu.Lock()
	defer v.changedMu.Unlock()
	close(v.changed)
	v.changed = make(chan struct{})
}

// offer installs a state if it is newer. When it returns nil the node acts in
// the offered view or a later one, and has dropped everything older (A1).
func (v *views) offer(s state) error {
	if s.cluster == nil || s.epoch() == 0 {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.cur.Load()
	if old != nil && !bytes.Equal(old.state.cluster.GetId(), s.cluster.GetId()) {
		return errOtherCluster
	}
	if old != nil && s.epoch() <= old.epoch() {
		return nil
	}
	r, err := ring.Build(s.view(), int(s.cluster.GetPartitions()))
	if err != nil {
		return fmt.Errorf("place %v: %w", s.view(), err)
	}
	next := &acting{state: s, view: s.view(), ring: r}
	if old != nil {
		next.service = old.service
	} else if next.service, err = v.follow(s); err != nil {
		return err
	}
	// The service first: nobody is told of a view that is not in force here.
	next.service.Install(s.history, r)
	v.cur.Store(next)
	v.log.Info("installed view", "epoch", s.epoch(), "view", s.view().String())
	v.poke()
	return nil
}
