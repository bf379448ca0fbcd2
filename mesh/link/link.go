package link

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/tracecontext"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// The most in one message between members: so many requests or answers, and about so many bytes.
// What is appended last may go beyond maxBatchBytes by maxForwardBytes, a request or an answer, or
// by what an owner sends to a backup at once, and still fits rules.MaxPeerMessage. A larger request
// or answer fails alone, with MESSAGE_TOO_LARGE.
const (
	maxBatch        = 512
	maxBatchBytes   = 1 << 20
	maxForwardBytes = 4 << 20
	// maxAcks is how many acknowledgements there are in one message.
	maxAcks = 1 << 16
)

// errTooLarge is the answer to a request that does not fit into a message between members, or whose
// answer does not.
func errTooLarge(size int) error {
	return &sharelock.Error{
		Err: sharelock.ErrMessageTooLarge, Message: fmt.Sprintf("%d bytes between members, the most is %d", size, maxForwardBytes),
	}
}

// Link is the asking end of a link: it carries requests to one other member and brings the answers
// back, over one stream, in batches both ways (A4). With the requests go the operations of the
// partitions that this member owns and the other backs up (A3). It opens with the first of either,
// and is opened again when it breaks; two goroutines serve it from then on, until the member is in
// no view any more.
//
// A request is registered under a number of its own; the answers go to that registration until it
// is forgotten. When the stream breaks, every registration is answered Retry, since nobody knows
// what became of the request (Q1). Safe for concurrent use.
type Link struct {
	links *Links
	to    ring.Member
	wake  wake.Signal
	stop  context.CancelFunc
	ctx   context.Context //nolint:containedctx // the lifetime of the link

	mu      sync.Mutex
	queue   []forward            // not sent yet; guarded by mu
	epoch   uint32               // of entries; guarded by mu
	entries []owner.Entries      // not sent yet; guarded by mu
	refs    map[uint64]owner.Ref // guarded by mu
	last    uint64               // the last number that was registered; guarded by mu
	running bool                 // a goroutine serves this link; guarded by mu
	// waiting is since when nothing was heard of the member though something was sent to it; 0 is
	// not. asked is when something was sent last. Guarded by mu.
	waiting, asked time.Duration
	// pings were sent since something was heard. Guarded by mu.
	pings int
	// pinging is when the ping was sent that has not been answered yet; 0 is none. rtt is how long
	// the last answer to one took. Guarded by mu.
	pinging, rtt time.Duration
	closed       bool // guarded by mu
}

func newLink(ls *Links, to ring.Member) *Link {
	ctx, cancel := context.WithCancel(context.Background())
	return &Link{links: ls, to: to, wake: wake.New(), ctx: ctx, stop: cancel, refs: map[uint64]owner.Ref{}}
}

// Register returns a number under which answers reach ref.
func (l *Link) Register(ref owner.Ref) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	l.refs[l.last] = ref
	return l.last
}

// Forget ends a registration: later answers to it are dropped.
func (l *Link) Forget(id uint64) {
	l.mu.Lock()
	delete(l.refs, id)
	l.mu.Unlock()
}

// Send queues a request of an epoch under a registered number. The request must not be changed
// until the last answer to it.
func (l *Link) Send(id uint64, epoch uint32, r *owner.Request) {
	v := l.links.cfg.Views.Now()
	principals, traces := v != nil && v.Supports(release.Principals), v != nil && v.Supports(release.Traces)
	l.mu.Lock()
	ref, known := l.refs[id]
	if l.closed {
		l.mu.Unlock()
		if known {
			ref.Caller.Answer(ref.ID, owner.Answer{Outcome: owner.Retry, Send: r.Send})
		}
		return
	}
	l.queue = append(l.queue, forward{id: id, epoch: epoch, req: r, principals: principals, traces: traces})
	if l.asked = l.links.cfg.Clock(); l.waiting == 0 {
		l.waiting = l.asked
	}
	start := !l.running
	l.running = true
	l.mu.Unlock()
	if start && !l.links.cfg.Spawn(l.run) {
		l.fail()
		return
	}
	l.wake.Set()
}

// replicate queues operations for the copies that the member backs up. Those of an older epoch than
// the newest are dropped: nobody waits for them any more.
func (l *Link) replicate(epoch uint32, entries []owner.Entries) {
	l.mu.Lock()
	if l.closed || epoch < l.epoch {
		l.mu.Unlock()
		return
	}
	if epoch > l.epoch {
		l.epoch, l.entries = epoch, nil
	}
	l.entries = append(l.entries, entries...)
	start := !l.running
	l.running = true
	l.mu.Unlock()
	if start && !l.links.cfg.Spawn(l.run) {
		return
	}
	l.wake.Set()
}

// take appends everything that waits to an empty frame, up to the most for one.
func (l *Link) take(frame []byte) []byte {
	l.mu.Lock()
	var list []forward
	list, l.queue = split(l.queue, min(len(l.queue), maxBatch))
	size, n := 0, 0
	for n < len(l.entries) && (n == 0 || size < maxBatchBytes) {
		size += len(l.entries[n].Ops) + len(l.entries[n].Traces)*(tracecontext.Size+2) + entriesHead
		n++
	}
	var entries []owner.Entries
	entries, l.entries = split(l.entries, n)
	epoch := l.epoch
	l.mu.Unlock()
	for i := range list {
		if len(frame) > maxBatchBytes { // the rest comes first in the next one
			l.mu.Lock()
			l.queue = append(list[i:len(list):len(list)], l.queue...)
			l.mu.Unlock()
			break
		}
		before := len(frame)
		if frame = appendForward(frame, &list[i]); len(frame)-before > maxForwardBytes {
			l.refuse(&list[i], len(frame)-before)
			frame = frame[:before]
		}
	}
	if len(entries) > 0 {
		frame = appendEntries(frame, epoch, entries)
	}
	return frame
}

// entriesHead is about what entries take beside their ops and traces.
const entriesHead = 24

// refuse answers a request that is too large to be sent.
func (l *Link) refuse(f *forward, size int) {
	l.answer(&reply{f.id, owner.Answer{Outcome: owner.Failed, Send: f.req.Send, Err: errTooLarge(size)}})
	l.wake.Set() // the frame may be empty though more waits
}

// split cuts a list in two, and lets go of its memory when nothing is left.
func split[T any](list []T, n int) (head, rest []T) {
	if n == len(list) {
		return list, nil
	}
	return list[:n:n], list[n:]
}

// answer delivers an answer, unless nobody wants it any more.
func (l *Link) answer(a *reply) {
	l.mu.Lock()
	ref, ok := l.refs[a.id]
	l.mu.Unlock()
	if ok {
		ref.Caller.Answer(ref.ID, a.answer)
	}
}

// fail answers everything Retry. Registrations end.
func (l *Link) fail() {
	l.mu.Lock()
	refs := l.refs
	l.refs = map[uint64]owner.Ref{}
	l.queue = nil
	l.mu.Unlock()
	for _, ref := range refs {
		ref.Caller.Answer(ref.ID, owner.Answer{Outcome: owner.Retry})
	}
}

// close ends the link for good.
func (l *Link) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stop()
	l.fail()
}
