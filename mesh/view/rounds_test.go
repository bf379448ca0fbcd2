package view

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// V4: a renewal is served by a round that began after it arrived; a round that is in progress when
// it arrives does not count. Rounds are shared.
func TestRoundsBeginAfterTheRequest(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		began, results := 0, make(chan bool)
		r := rounds{
			confirm: func() bool { began++; return <-results },
			spawn:   func(fn func()) bool { wg.Go(fn); return true },
		}
		answers := make(chan bool, 10)
		ask := func() { wg.Go(func() { answers <- r.wait(t.Context()) }) }
		ask()
		synctest.Wait()
		for range 3 { // these arrive while the first round is in progress
			ask()
		}
		synctest.Wait()
		if began != 1 {
			t.Fatalf("%d rounds have begun, want 1", began)
		}
		results <- true
		synctest.Wait()
		if len(answers) != 1 || !<-answers {
			t.Fatalf("the first round answered %d more requests, want its own only", len(answers))
		}
		results <- false // the one round of the other three
		synctest.Wait()
		if began != 2 || len(answers) != 3 {
			t.Fatalf("%d rounds, %d answers, want 2 and 3", began, len(answers))
		}
		for range 3 {
			if <-answers {
				t.Error("a failed round confirmed a request")
			}
		}
		wg.Wait()
	})
}

// A caller that goes away does not delay the round; a node that is stopping begins none.
func TestRoundsEnd(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		release := make(chan struct{})
		r := rounds{
			confirm: func() bool { <-release; return true },
			spawn:   func(fn func()) bool { wg.Go(fn); return true },
		}
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if r.wait(ctx) {
				t.Error("a caller that is gone got a confirmation")
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(release)
		wg.Wait()
		stopped := rounds{confirm: r.confirm, spawn: func(func()) bool { return false }}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if stopped.wait(gone) {
			t.Error("a node that is stopping confirmed a request")
		}
	})
}
