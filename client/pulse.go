package client

import (
	"sync"
	"time"
)

// longGap is the shortest time that counts as a gap, in which this process did not run. A shorter one, and the
// time until a lost node is noticed, add up to no more than silence.
const longGap = silence - unseen

// beatEvery is how often pulse.keep says that the process runs.
const beatEvery = time.Second

// mostGaps is the number of gaps that are remembered.
const mostGaps = 8

// pulse records when this process did not run, because it was stopped or the machine was suspended. Nothing is
// known of what became of requests in such a gap, and an answer that came in it looks as if it had just come.
// It is safe for concurrent use.
type pulse struct {
	mu sync.Mutex
	// last is the newest time at which the process ran, by the client's clock. Guarded by mu.
	last time.Duration
	// gaps are the newest, in their order. Guarded by mu.
	gaps []gap
}

// gap is a time in which the process did not run.
type gap struct{ from, to time.Duration }

// beat records that the process runs. It must be called every few seconds while calls are in flight.
func (p *pulse) beat(now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(now)
}

// note is beat with mu held.
func (p *pulse) note(now time.Duration) {
	if now-p.last > longGap {
		if len(p.gaps) == mostGaps {
			p.gaps = append(p.gaps[:0], p.gaps[1:]...)
		}
		p.gaps = append(p.gaps, gap{p.last, now})
	}
	p.last = max(p.last, now)
}

// ran returns the time up to which the process has run without a gap since the time since. That is now if there
// was no gap.
func (p *pulse) ran(since, now time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(now)
	for _, g := range p.gaps {
		if g.to > since {
			return max(g.from, since)
		}
	}
	return now
}

// keep calls beat until stop is called, for a call without a session.
func (p *pulse) keep(now func() time.Duration) (stop func()) {
	p.beat(now())
	done := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.beat(now())
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		work.Wait()
	}
}
