package cluster

import (
	"context"
	"sync"
	"time"
)

// pauses stop a node at named points.
type pauses struct {
	mu     sync.Mutex
	points map[string]*pausePoint // not reached yet; guarded by mu
	all    []*pausePoint          // guarded by mu
	closed bool                   // guarded by mu
}

type pausePoint struct {
	reached, resume chan struct{}
	stop            func() // called when it is reached
	once            sync.Once
}

func newPauses() *pauses { return &pauses{points: map[string]*pausePoint{}} }

// at is meshhook.Hooks.Pause.
func (p *pauses) at(point string) {
	p.mu.Lock()
	at := p.points[point]
	delete(p.points, point)
	p.mu.Unlock()
	if at != nil {
		at.stop()
		close(at.reached)
		<-at.resume
	}
}

// end lets everything go on.
func (p *pauses) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, at := range p.all {
		at.once.Do(func() { close(at.resume) })
	}
}

// Pause is a node that is to stop, or has stopped, at a point.
type Pause struct {
	node *node
	at   *pausePoint
}

// PauseAt stops the goroutine of node i that comes to a point next, such as
// owner.PointAnswer, once, and freezes the node's network from that moment until it
// goes on. The node's clock goes on, as that of a process that was stopped does.
//
// In a bubble the node should have little to do then: time stands still while
// another of its goroutines waits for a mutex of the one that stands.
func (c *Cluster) PauseAt(i int, point string) *Pause {
	c.memory()
	n := c.at(i)
	at := &pausePoint{reached: make(chan struct{}), resume: make(chan struct{}), stop: func() { c.Freeze(i) }}
	n.pauses.mu.Lock()
	defer n.pauses.mu.Unlock()
	if n.pauses.closed {
		at.once.Do(func() { close(at.resume) })
	}
	n.pauses.points[point] = at
	n.pauses.all = append(n.pauses.all, at)
	return &Pause{n, at}
}

// Reached returns when the node stands at the point.
func (p *Pause) Reached(ctx context.Context) error {
	select {
	case <-p.at.reached:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Resume lets the node go on.
func (p *Pause) Resume() {
	p.at.once.Do(func() {
		p.node.cluster.Thaw(p.node.index)
		close(p.at.resume)
	})
}

// Stand waits until the node stands at the point, then d longer, and lets it go on.
func (p *Pause) Stand(ctx context.Context, d time.Duration) error {
	defer p.Resume()
	if err := p.Reached(ctx); err != nil {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
