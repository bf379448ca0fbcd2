package epoch_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// A1: a newer view replaces an older one, never the other way round, and waiting goroutines are
// woken.
func TestOffer(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		began := time.Now()
		views, stop := epochtest.New("a", func() time.Duration { return time.Since(began) })
		defer stop()
		if views.Now() != nil || views.Epoch() != 0 || views.Lease() != epochtest.Lease {
			t.Errorf("before its first view a process acts in %v", views.Now())
		}
		first, second := epochtest.View(1, "a", "b"), epochtest.View(2, "a")
		for _, offer := range []struct {
			what    string
			state   view.State
			err     error
			epoch   uint32
			changes bool
		}{
			{"no view", epochtest.State(), nil, 0, false},
			{"the first view", epochtest.State(first), nil, 1, true},
			{"a newer one", epochtest.State(first, second), nil, 2, true},
			{"the same again", epochtest.State(first, second), nil, 2, false},
			{"an older one", epochtest.State(first), nil, 2, false},
		} {
			changed := views.Changed()
			if err := views.Offer(offer.state); !errors.Is(err, offer.err) {
				t.Errorf("%s: %v", offer.what, err)
			}
			told := false
			select {
			case <-changed:
				told = true
			default:
			}
			if views.Epoch() != offer.epoch || told != offer.changes {
				t.Errorf("%s: epoch %d, want %d; told of a change %t, want %t", offer.what, views.Epoch(), offer.epoch, told, offer.changes)
			}
		}
		if now := views.Now(); now.Service.Epoch() != 2 || now.Has(epochtest.Member("b").Identity) || !now.Has(epochtest.Member("a").Identity) {
			t.Errorf("acts in %v, its service in epoch %d", now.View, now.Service.Epoch())
		}
		other := epochtest.State(first, second, epochtest.View(3, "a"))
		other.Cluster.Id = []byte("two")
		if err := views.Offer(other); !errors.Is(err, epoch.ErrOtherCluster) || views.Epoch() != 2 {
			t.Errorf("a view of another cluster: %v, in epoch %d", err, views.Epoch())
		}
		changed := views.Changed()
		views.Wake()
		select {
		case <-changed:
		default:
			t.Error("Wake wakes nobody")
		}
	})
}

// A view that Fits or Follow refuses is not installed.
func TestOfferRefused(t *testing.T) {
	refusal := errors.New("refused")
	follows := 0
	views := epoch.New(epoch.Config{
		Log:  slog.New(slog.DiscardHandler),
		Fits: func(v ring.View) error { return map[uint32]error{1: refusal}[v.Epoch] },
		Follow: func(view.State) (*owner.Service, error) {
			follows++
			return nil, refusal
		},
	})
	for epoch, wantFollows := range []int{1: 0, 2: 1} {
		if epoch == 0 {
			continue
		}
		if err := views.Offer(epochtest.State(epochtest.View(uint32(epoch), "a"))); !errors.Is(err, refusal) || views.Now() != nil || follows != wantFollows {
			t.Errorf("epoch %d: %v, acts in %v after %d calls of Follow", epoch, err, views.Now(), follows)
		}
	}
}

// MarkedSince returns the first of the views in which a member has been leaving without
// interruption (V6a, V7). A mark that was removed and set again counts from its last beginning.
func TestMarkedSince(t *testing.T) {
	marked := func(epoch uint32, leaving bool) ring.View {
		v := epochtest.View(epoch, "a", "b")
		v.Members[0].Leaving = leaving
		return v
	}
	state := epochtest.State(marked(1, true), marked(2, false), marked(3, true), marked(4, true))
	v := &epoch.View{View: state.View(), State: state}
	a, b := epochtest.Member("a").Identity, epochtest.Member("b").Identity
	if got := v.MarkedSince(a); got != 3 {
		t.Errorf("marked since epoch %d, want 3", got)
	}
	if !v.Leaving(a) || v.Leaving(b) {
		t.Errorf("leaving: a %t, b %t", v.Leaving(a), v.Leaving(b))
	}
	if m, in := v.Named(b.String()); !in || m.Name != "b" {
		t.Errorf("%s is %v, %t", b, m, in)
	}
	if _, in := v.Named("c"); in {
		t.Error("c is a member")
	}
}
