package watch

import (
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/event"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/owner"
)

// queueMost is the maximum number of events that may wait for the reader of a watch. Snapshots that
// it has asked for do not count.
const queueMost = 4096

// How far a partition is synced.
const (
	unsynced = iota // events are dropped
	reading         // events are held back until the read has ended
	synced
)

// An inbox is the queue of a watch: sources put events into it, and the watch's reader takes them
// out.
type inbox struct {
	wake wake.Signal

	mu sync.Mutex
	// epoch is the epoch in which the watch is synced; events of others are dropped. Guarded by mu.
	epoch uint32
	// queue is what the reader takes next. live counts the events, without snapshots, in queue and
	// in what is held back. Guarded by mu.
	queue []*event.Event
	live  int
	// bytes is about the size of all of that. held and heldBytes are the parts of live and bytes
	// that are held back. Guarded by mu.
	bytes           int
	held, heldBytes int
	// budget is shared by all watches; nil means no bound.
	budget *budget
	// full is set when events were dropped because the reader is slow; broken when a source has
	// ended or has left something out. Guarded by mu.
	full, broken bool
	// told is set if the reader has received, or will find in the queue, anything that a reset
	// would have to take back; guarded by mu.
	told bool
	// parts says how far each partition is synced. A missing partition is unsynced. Guarded by mu.
	parts map[uint32]*part
	// ended are the reads whose last part has arrived. Guarded by mu.
	ended []endedRead
	// seen is the place of the newest event, or of the snapshot, of a key. Guarded by mu.
	seen owner.Cursor
	// resuming is set while it is not known whether the watch can continue from the reader's
	// cursor. Guarded by mu.
	resuming bool
	// quarantined counts the partitions whose state was lost; guarded by mu.
	quarantined int
}

// A part is what a watch knows about a partition.
type part struct {
	state int
	// keys are the keys that the current read has returned, with the sequence number of each. held
	// are the events that have arrived during the read.
	keys map[string]uint64
	held []told
}

// told is an event from a source.
type told struct {
	*owner.Event
	// out is the event as readers get it.
	out *event.Event
}

// An endedRead is the end of a read, with its error.
type endedRead struct {
	from *source
	err  error
}

// begin starts a new epoch: it drops everything except the queue.
func (b *inbox) begin(epoch uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.epoch, b.full, b.broken, b.ended, b.resuming, b.quarantined = epoch, false, false, nil, false, 0
	b.parts = map[uint32]*part{}
	b.keep(-b.heldBytes)
	b.live, b.held, b.heldBytes = b.live-b.held, 0, 0
}

// broke makes the watch begin again.
func (b *inbox) broke() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = true
	b.wake.Set()
}

// put queues an event about the watch itself.
func (b *inbox) put(e *sharelock.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = append(b.queue, event.New(e))
	b.told = b.told || e.Type == sharelock.Synced
	b.wake.Set()
}

// takeBack queues an event that takes back everything that the reader was told, if there is
// anything or if always is set.
func (b *inbox) takeBack(e *sharelock.Event, always bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.told || always {
		b.queue = append(b.queue, event.New(e))
		b.wake.Set()
	}
	b.told = false
}

// event takes an event from a source. It returns false if the watch accepts no events before it
// begins again.
func (b *inbox) event(e told) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.parts[e.Partition]
	if b.full || b.broken {
		return false
	}
	if e.Epoch != b.epoch || p == nil || p.state == unsynced {
		return true
	}
	size := sizeOf(e.Event)
	b.live++
	b.keep(size)
	if b.live > queueMost || b.tooMuch() {
		b.overflow()
		return false
	}
	if p.state == reading {
		p.held = append(p.held, e)
		b.held++
		b.heldBytes += size
		return true
	}
	b.add(e)
	return true
}

// add queues an event. It needs mu.
func (b *inbox) add(e told) {
	if len(b.queue) == 0 {
		b.wake.Set()
	}
	b.queue = append(b.queue, e.out)
	b.told, b.seen = true, e.Place()
}

// expect notes which partitions are read next.
func (b *inbox) expect(partitions []uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range partitions {
		if b.parts != nil {
			b.parts[id] = &part{state: reading, keys: map[string]uint64{}}
		}
	}
}

// part takes a part of the result of a read.
func (b *inbox) part(from *source, p *owner.Part) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full || b.broken || p.Epoch != b.epoch {
		return
	}
	if known := b.parts[p.Partition]; known != nil && known.state == reading && p.Err == nil {
		if b.resuming && !p.Resumed {
			b.queue = append(b.queue, event.New(about(sharelock.Reset, "", lostPlace)))
		}
		b.resuming = false
		for _, e := range p.Events {
			known.keys[e.Key] = e.Seq
			b.queue = append(b.queue, event.New(&e.Event))
			b.keep(sizeOf(e))
			b.told = true
		}
		if p.Done {
			b.done(known, p)
		}
		b.wake.Set()
		if b.tooMuch() {
			b.overflow()
			return
		}
	}
	if p.Last {
		b.ended = append(b.ended, endedRead{from: from, err: p.Err})
		b.wake.Set()
	}
}

// done ends the read of a partition: it queues the held back events that the snapshots do not
// include. It needs mu.
func (b *inbox) done(known *part, p *owner.Part) {
	if p.Seq != 0 {
		b.seen = owner.Cursor{Epoch: p.Epoch, Seq: p.Seq}
	}
	for _, e := range known.held {
		if e.Seq > max(known.keys[e.Key], p.Seq) {
			b.add(e)
		}
	}
	if p.Quarantined {
		b.quarantined++
	}
	b.held -= len(known.held) // events that were not added are still counted in live until take is called
	for _, e := range known.held {
		b.heldBytes -= sizeOf(e.Event)
	}
	known.state, known.keys, known.held = synced, nil, nil
}

// unread returns the partitions that are not synced, and whether the reader was shown keys of any
// of them.
func (b *inbox) unread(partitions []uint32) (rest []uint32, shown bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range partitions {
		if p := b.parts[id]; p == nil || p.state != synced {
			if p != nil {
				shown = shown || len(p.keys) > 0
				b.release(p)
			}
			delete(b.parts, id)
			rest = append(rest, id)
		}
	}
	return rest, shown
}

// taken is what a reader finds in an inbox.
type taken struct {
	events       []*event.Event
	ended        []endedRead
	full, broken bool
}

// take empties the inbox.
func (b *inbox) take() taken {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := taken{events: b.queue, ended: b.ended, full: b.full, broken: b.broken}
	b.queue, b.ended, b.live = nil, nil, b.held
	b.free()
	b.keep(b.heldBytes)
	return t
}

// lostPlace is the reason of a reset if a watch cannot continue from the reader's cursor.
const lostPlace = "the events since the cursor are not known any more"

// resume notes that the next read continues from the reader's cursor, if it can.
func (b *inbox) resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.resuming = true
}

// place returns the cursor of the newest event, and the number of partitions in quarantine.
func (b *inbox) place() (at string, quarantined int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen.String(), b.quarantined
}

// about returns an event about the watch itself.
func about(kind sharelock.EventType, key, reason string) *sharelock.Event {
	return &sharelock.Event{Type: kind, Key: key, Reason: reason, At: time.Now().UTC()}
}
