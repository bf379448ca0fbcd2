package client

import (
	"sync"
	"time"
)

// longGap is how long a process does not run before that counts as a gap. A shorter one
// and what a node may go unseen are together no longer than a request may be silent.
const longGap = silence - unseen

// beatEvery is how often pulse.keep says that the process runs.
const beatEvery = time.Second

// mostGaps is how many gaps are remembered.
const mostGaps = 8

// pulse notices when this process did not run: it was stopped, or the machine was
// suspended. What happened to requests meanwhile was not seen, and answers that came
// meanwhile look new. Safe for concurrent use.
type pulse struct {
	mu sync.Mutex
	// last is the newest time at which the process ran, by the client's clock. Guarded by mu.
	last time.Duration
	// gaps are the newest, in their order. Guarded by mu.
	gaps []gap
}

// gap is a time in which the process did not run.
type gap struct{ from, to time.Duration }

// beat says that the process runs. While calls are under way somebody has to say so every
// few seconds.
func (p *pulse) beat(now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(now)
}

// note needs mu.
func (p *pulse) note(now time.Duration) {
	if now-p.last > longGap {
		if len(p.gaps) == mostGaps {
			p.gaps = append(p.gaps[:0], p.gaps[1:]...)
		}
		p.gaps = append(p.gaps, gap{p.last, now})
	}
	p.last = max(p.last, now)
}

// ran returns until when the process is known to have run without a gap since a time: now,
// if there was none.
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

// keep beats until stop is called, for a call that nothing else does it for.
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
