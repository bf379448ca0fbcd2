package cluster

import (
	"context"
	"sync"
	"time"
)

// pauses stops a node at named points.
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

// at is passed to nodes as meshhook.Hooks.Pause.
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

// end resumes everything that is paused.
func (p *pauses) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, at := range p.all {
		at.once.Do(func() { close(at.resume) })
	}
}

// Pause is a pause of a node at a point, reached or not.
type Pause struct {
	node *node
	at   *pausePoint
}

// PauseAt stops the next goroutine of node i that comes to a point, such as
// owner.PointAnswer, once. The node's network is frozen from that moment until Resume. The
// node's clock continues, as that of a stopped process does.
//
// In a bubble the node should have little else to do: time stands still while another of
// its goroutines waits for a mutex that the stopped goroutine holds.
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

// Reached blocks until the node has stopped at the point.
func (p *Pause) Reached(ctx context.Context) error {
	select {
	case <-p.at.reached:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Resume lets the node continue.
func (p *Pause) Resume() {
	p.at.once.Do(func() {
		p.node.cluster.Thaw(p.node.index)
		close(p.at.resume)
	})
}

// Stand waits until the node has stopped at the point, then for d, and then resumes it.
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
