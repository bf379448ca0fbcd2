package mesh

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/owner/mutant"
	"github.com/sgkandale/sharelock/ring"
)

func ns(n int64) time.Duration { return time.Duration(n) }

// acting is what a node acts in: one view with all that follows from it. It is
// immutable; a newer view makes a new one.
type acting struct {
	state   view.State
	view    ring.View
	ring    *ring.Ring
	service *owner.Service
}

func (a *acting) epoch() uint32               { return a.view.Epoch }
func (a *acting) cluster() view.Constants     { return a.state.Constants() }
func (a *acting) partition(key string) uint32 { return a.ring.Partition(key) }

// has reports whether a process is a member.
func (a *acting) has(id ring.Identity) bool {
	_, in := a.view.Find(id)
	return in
}

// leaving reports whether a process is a member that is marked leaving (V6a, V7).
func (a *acting) leaving(id ring.Identity) bool {
	m, in := a.view.Find(id)
	return in && m.Leaving
}

// markedSince is the epoch of the view that marked a leaving member: it has been marked
// in every view since.
func (a *acting) markedSince(id ring.Identity) uint32 {
	since := a.epoch()
	for _, v := range slices.Backward(a.state.History.Views) {
		if m, in := v.Find(id); !in || !m.Leaving {
			break
		}
		since = v.Epoch
	}
	return since
}

// errOtherCluster: a process of another cluster spoke to us (V0).
var errOtherCluster = errors.New("another cluster")

// views is the node's way into newer views, whoever brings them: Raft, the
// leader, an answer to a renewal, or a peer that is ahead.
type views struct {
	// follow is called once, with the first state, before it is installed: it
	// makes the service. An error refuses the cluster.
	follow func(view.State) (*owner.Service, error)
	// fits is called with every newer view before it is installed; an error refuses it.
	fits func(ring.View) error
	log  *slog.Logger

	// mu serialises offers.
	mu  sync.Mutex
	cur atomic.Pointer[acting]

	changedMu sync.Mutex
	changed   chan struct{} // closed and replaced at every change; guarded by changedMu
}

func newViews(follow func(view.State) (*owner.Service, error), fits func(ring.View) error, log *slog.Logger) *views {
	return &views{follow: follow, fits: fits, log: log, changed: make(chan struct{})}
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
func (v *views) offer(s view.State) error {
	if s.Cluster == nil || s.Epoch() == 0 {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.cur.Load()
	if old != nil && !bytes.Equal(old.state.Cluster.GetId(), s.Cluster.GetId()) {
		return errOtherCluster
	}
	if old != nil && s.Epoch() <= old.epoch() && !mutant.On(mutant.CurGoesBack) {
		return nil
	}
	if err := v.fits(s.View()); err != nil {
		return err
	}
	r, err := ring.Build(s.View(), int(s.Cluster.GetPartitions()))
	if err != nil {
		return fmt.Errorf("place %v: %w", s.View(), err)
	}
	next := &acting{state: s, view: s.View(), ring: r}
	if old != nil {
		next.service = old.service
	} else if next.service, err = v.follow(s); err != nil {
		return err
	}
	// The service first: nobody is told of a view that is not in force here.
	next.service.Install(s.History, r)
	v.cur.Store(next)
	v.log.Info("installed view", "epoch", s.Epoch(), "view", s.View().String())
	v.poke()
	return nil
}
