package watch

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/owner"
)

// keptMost is about how many bytes of events may wait for all readers at this node together. Beyond
// it, a watch with more than its share is reset. Events that several watches share count for each.
const keptMost = 64 << 20

// A delivery costs its reader about deliveryCost of rest, so that one which is told something all
// the time is told more at a time, and eventCost for each event and each reader that rests at the
// same time, on one processor: all watches of a node together are told no more than one event in
// eventCost, divided by the number of processors. A reader that was idle has credit.
const (
	deliveryCost = 5 * time.Millisecond
	eventCost    = 8 * time.Microsecond
	credit       = 100 * time.Millisecond
	// restMost is the longest rest.
	restMost = 5 * time.Second
)

// A budget bounds what the watches of a node cost together.
type budget struct {
	streams atomic.Int64
	// kept is how many bytes of events wait for readers.
	kept atomic.Int64
	// resting is how many readers rest.
	resting atomic.Int64
}

// cost returns how long a reader rests for a delivery of n events.
func (g *budget) cost(n int) time.Duration {
	each := eventCost / time.Duration(runtime.GOMAXPROCS(0))
	return deliveryCost + time.Duration(n)*each*time.Duration(max(g.resting.Load(), 1))
}

// keep notes that n more bytes wait for the reader. It needs mu.
func (b *inbox) keep(n int) {
	b.bytes += n
	if b.budget != nil {
		b.budget.kept.Add(int64(n))
	}
}

// free notes that nothing waits for the reader. It needs mu.
func (b *inbox) free() { b.keep(-b.bytes) }

// tooMuch reports whether more waits for the reader than may. It needs mu.
func (b *inbox) tooMuch() bool {
	if b.budget == nil || b.budget.kept.Load() <= keptMost {
		return false
	}
	return int64(b.bytes) > keptMost/max(b.budget.streams.Load(), 1)
}

// overflow leaves out everything that waits for the reader. It needs mu.
func (b *inbox) overflow() {
	b.told = b.told || len(b.queue) > 0 // there may be a reset among them
	b.full, b.queue, b.parts = true, nil, nil
	b.free()
	b.live, b.held, b.heldBytes = 0, 0, 0
	b.wake.Set()
}

// release forgets what is held back of a partition. It needs mu.
func (b *inbox) release(p *part) {
	for _, e := range p.held {
		b.heldBytes -= sizeOf(e.Event)
		b.keep(-sizeOf(e.Event))
	}
	b.held -= len(p.held)
	b.live -= len(p.held)
	p.held = nil
}

// close forgets everything.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.overflow()
}

// sizeOf returns about how many bytes an event takes.
func sizeOf(e *owner.Event) int {
	return len(e.Key) + len(e.ClientID) + len(e.Principal) + len(e.Reason) + 256
}
