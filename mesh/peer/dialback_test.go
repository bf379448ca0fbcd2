package peer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/ring"
)

// V3: an incarnation is dialled until that succeeds, and then not again until it has been removed
// from a view.
func TestDialBackIsRemembered(t *testing.T) {
	var now time.Duration
	dials, fails := 0, errors.New("cannot be dialled")
	d := NewDialBacks(func(context.Context, ring.Member) error { dials++; return fails },
		func() time.Duration { return now }, slog.New(slog.DiscardHandler))
	x := ring.Member{Identity: ring.Identity{ID: "x", Counter: 1}, Name: "x", Peer: "x:1"}
	later := x
	later.Counter = 2
	elsewhere := x
	elsewhere.Peer = "x:2"
	check := func(what string, m ring.Member, want error, wantDials int) {
		t.Helper()
		if err := d.Check(t.Context(), m); !errors.Is(err, want) || dials != wantDials {
			t.Errorf("%s: %v after %d dials, want %v after %d", what, err, dials, want, wantDials)
		}
	}
	check("cannot be dialled", x, fails, 1)
	check("asks again", x, fails, 2)
	fails = nil
	check("can be dialled", x, nil, 3)
	check("is remembered", x, nil, 3)
	check("a later incarnation", later, nil, 4)
	check("another address", elsewhere, nil, 5)
	d.Keep(ring.View{Members: []ring.Member{elsewhere}})
	check("is a member", elsewhere, nil, 5)
	d.Keep(ring.View{})
	fails = errors.New("cannot be dialled any more")
	check("was removed", elsewhere, fails, 6)
	now = forgetDialBack + 1
	d.Keep(ring.View{})
	if len(d.known) != 0 {
		t.Errorf("%d processes that gave up are remembered", len(d.known))
	}
	// The starts of a process that restarts again and again while the view does not change are
	// forgotten, too.
	for later.Counter < 100 {
		later.Counter++
		now += time.Second
		check("starts again", later, fails, int(later.Counter)+4)
	}
	if most := int(forgetDialBack/time.Second) + 2; len(d.known) > most {
		t.Errorf("%d starts of a process are remembered, want at most %d", len(d.known), most)
	}
}

// However many processes want to join at once, at most maxDialBacks are dialled at the same time,
// and each is answered.
func TestDialBacksAreBounded(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var under, most atomic.Int64
		d := NewDialBacks(func(context.Context, ring.Member) error {
			most.Store(max(most.Load(), under.Add(1)))
			defer under.Add(-1)
			time.Sleep(time.Second)
			return nil
		}, func() time.Duration { return 0 }, slog.New(slog.DiscardHandler))
		var wg sync.WaitGroup
		for n := range uint64(10 * maxDialBacks) {
			wg.Go(func() {
				if err := d.Check(t.Context(), ring.Member{Identity: ring.Identity{ID: "x", Counter: n + 1}, Peer: "x"}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if n := under.Load(); n != maxDialBacks {
			t.Errorf("%d are dialled at the same time, want %d", n, maxDialBacks)
		}
		wg.Wait()
		if n := most.Load(); n != maxDialBacks {
			t.Errorf("%d were dialled at the same time, want %d", n, maxDialBacks)
		}
	})
}
