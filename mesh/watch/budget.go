package watch

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/owner"
)

// keptMost is about how many bytes of events may wait for all readers at this node together. If
// more wait, a watch with more than its share is reset. Events that several watches share count for
// each of them.
const keptMost = 64 << 20

// After a delivery its reader rests for deliveryCost, so that a reader with a steady stream of
// events gets more of them at a time. In addition it rests for eventCost for each event, times the
// number of resting readers, divided by the number of processors: all watches of a node together
// are sent at most one event per eventCost and processor. A reader that was idle has credit.
const (
	deliveryCost = 5 * time.Millisecond
	eventCost    = 8 * time.Microsecond
	credit       = 100 * time.Millisecond
	// restMost is the maximum rest.
	restMost = 5 * time.Second
)

// A budget bounds what the watches of a node cost together.
type budget struct {
	streams atomic.Int64
	// kept is the number of bytes of events that wait for readers.
	kept atomic.Int64
	// resting is the number of readers that rest.
	resting atomic.Int64
}

// cost returns how long a reader rests for a delivery of n events.
func (g *budget) cost(n int) time.Duration {
	each := eventCost / time.Duration(runtime.GOMAXPROCS(0))
	return deliveryCost + time.Duration(n)*each*time.Duration(max(g.resting.Load(), 1))
}

// keep counts n more bytes that wait for the reader. It needs mu.
func (b *inbox) keep(n int) {
	b.bytes += n
	if b.budget != nil {
		b.budget.kept.Add(int64(n))
	}
}

// free counts that nothing waits for the reader any more. It needs mu.
func (b *inbox) free() { b.keep(-b.bytes) }

// tooMuch reports whether more waits for the reader than may. It needs mu.
func (b *inbox) tooMuch() bool {
	if b.budget == nil || b.budget.kept.Load() <= keptMost {
		return false
	}
	return int64(b.bytes) > keptMost/max(b.budget.streams.Load(), 1)
}

// overflow drops everything that waits for the reader. It needs mu.
func (b *inbox) overflow() {
	b.told = b.told || len(b.queue) > 0 // the queue may contain a reset
	b.full, b.queue, b.parts = true, nil, nil
	b.free()
	b.live, b.held, b.heldBytes = 0, 0, 0
	b.wake.Set()
}

// release drops the held back events of a partition. It needs mu.
func (b *inbox) release(p *part) {
	for _, e := range p.held {
		b.heldBytes -= sizeOf(e.Event)
		b.keep(-sizeOf(e.Event))
	}
	b.held -= len(p.held)
	b.live -= len(p.held)
	p.held = nil
}

// close drops everything.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.overflow()
}

// sizeOf returns about how many bytes an event takes.
func sizeOf(e *owner.Event) int {
	return len(e.Key) + len(e.ClientID) + len(e.Principal) + len(e.Reason) + 256
}
