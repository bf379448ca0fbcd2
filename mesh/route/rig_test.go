package route

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/ring"
)

// rig is the member a with a router and nothing else of a node.
type rig struct {
	*Router
	views *epoch.Views
}

// newRig returns a rig in a view of these members, which holds a lease.
func newRig(t *testing.T, members ...string) *rig {
	t.Helper()
	began := time.Now()
	clock := func() time.Duration { return time.Since(began) }
	views, stop := epochtest.New("a", clock)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	spawn := func(fn func()) bool {
		if ctx.Err() != nil {
			return false
		}
		tasks.Go(fn)
		return true
	}
	log := slog.New(slog.DiscardHandler)
	links := link.New(link.Config{
		Self: epochtest.Member("a").Identity, Cluster: func() []byte { return epochtest.Cluster }, Releases: release.Own(),
		Dial:  func(context.Context, string) (net.Conn, error) { return nil, errors.New("there is no network") },
		Views: views, Clock: clock, Spawn: spawn, Context: ctx, Log: log,
	})
	r := &rig{views: views, Router: New(Config{
		Self: epochtest.Member("a").Identity, Views: views, Links: links, Clock: clock,
		Limits: sharelock.Limits{DefaultTTL: time.Minute, MaxTTL: time.Minute, DefaultWait: 10 * time.Second, MaxWait: time.Minute},
		Ready:  func() error { return nil }, AwaitStart: func(context.Context, time.Duration) {}, Leaving: make(chan struct{}),
		Spawn: spawn, Context: ctx, Log: log,
	})}
	r.show(t, epochtest.View(1, members...))
	r.views.Now().Service.SetLease(time.Hour)
	tasks.Go(func() { r.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		links.Close()
		stop()
		tasks.Wait()
	})
	synctest.Wait() // until the partitions are active
	return r
}

// show has the member act in the last of these views.
func (r *rig) show(t *testing.T, views ...ring.View) {
	t.Helper()
	if err := r.views.Offer(epochtest.State(views...)); err != nil {
		t.Fatal(err)
	}
}

// quietSink hears nothing.
type quietSink struct{}

func (quietSink) Answer(uint64, sharelock.Hold, error)   {}
func (quietSink) Hold()                                  {}
func (quietSink) Flush()                                 {}
func (quietSink) Renewed(uint64, []uint64)               {}
func (quietSink) Ended(uint64, error)                    {}
func (quietSink) Forced(string, sharelock.Token, string) {}
func (quietSink) Queued(uint64, uint32)                  {}
func (quietSink) Released()                              {}
