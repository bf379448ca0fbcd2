package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// The most in one message between members: so many calls or answers, and about so many
// bytes. What is appended last may go beyond maxBatchBytes by maxCallBytes, a call or an
// answer, or by what an owner sends to a backup at once, and still fits maxPeerMessage. A
// larger call or answer fails alone, with MESSAGE_TOO_LARGE.
const (
	maxBatch      = 512
	maxBatchBytes = 1 << 20
	maxCallBytes  = 4 << 20
	// maxAcks is how many acknowledgements there are in one message.
	maxAcks = 1 << 16
)

// errTooLarge is the answer to a call that does not fit into a message between members, or
// whose answer does not.
func errTooLarge(size int) error {
	return &sharelock.Error{
		Err: sharelock.ErrMessageTooLarge, Message: fmt.Sprintf("%d bytes between members, the most is %d", size, maxCallBytes),
	}
}

// link carries this node's calls to one other member and brings the answers
// back: one stream, batches both ways (A4). With the calls go the operations of the
// partitions that this node owns and the other backs up (A3). It opens with the
// first of either, and is opened again when it breaks; two goroutines serve it from
// then on, until the member is in no view any more.
//
// A call is registered under a number of its own; its answers go to that call
// until it is forgotten. When the stream breaks, every registered call is
// answered Retry, since nobody knows what became of it (Q1).
type link struct {
	node *Node
	to   ring.Member
	wake chan struct{}
	stop context.CancelFunc
	ctx  context.Context //nolint:containedctx // the lifetime of the link

	mu      sync.Mutex
	queue   []linkCall           // not sent yet; guarded by mu
	epoch   uint32               // of entries; guarded by mu
	entries []owner.Entries      // not sent yet; guarded by mu
	calls   map[uint64]owner.Ref // guarded by mu
	last    uint64               // number of the last call; guarded by mu
	running bool                 // a goroutine serves this link; guarded by mu
	// waiting is since when nothing was heard of the member though something was
	// sent to it; 0 is not. asked is when something was sent last. Guarded by mu.
	waiting, asked time.Duration
	// pings were sent since something was heard. Guarded by mu.
	pings  int
	closed bool // guarded by mu
}

func newLink(n *Node, to ring.Member) *link {
	ctx, cancel := context.WithCancel(context.Background())
	return &link{node: n, to: to, wake: make(chan struct{}, 1), ctx: ctx, stop: cancel, calls: map[uint64]owner.Ref{}}
}

// register gives a number under which answers reach ref.
func (l *link) register(ref owner.Ref) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	l.calls[l.last] = ref
	return l.last
}

// forget ends a registration: later answers to it are dropped.
func (l *link) forget(id uint64) {
	l.mu.Lock()
	delete(l.calls, id)
	l.mu.Unlock()
}

// send queues a call under a registered number.
func (l *link) send(id uint64, epoch uint32, r *owner.Request) {
	l.mu.Lock()
	ref, known := l.calls[id]
	if l.closed {
		l.mu.Unlock()
		if known {
			ref.Caller.Answer(ref.ID, owner.Answer{Outcome: owner.Retry, Send: r.Send})
		}
		return
	}
	l.queue = append(l.queue, linkCall{id: id, epoch: epoch, req: r})
	if l.asked = l.node.clock(); l.waiting == 0 {
		l.waiting = l.asked
	}
	start := !l.running
	l.running = true
	l.mu.Unlock()
	if start && !l.node.tasks.Go(l.run) {
		l.fail()
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// replicate queues operations for the copies that the member backs up. Those of
// an older epoch than the newest are dropped: nobody waits for them any more.
func (l *link) replicate(epoch uint32, entries []owner.Entries) {
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
	if start && !l.node.tasks.Go(l.run) {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run serves the link until it is closed: one stream after the other.
func (l *link) run() {
	pause, said := firstPause, false
	for l.ctx.Err() == nil {
		began := l.node.clock()
		if err := l.stream(); err != nil && l.ctx.Err() == nil {
			level := slog.LevelDebug
			if errors.Is(err, errRelease) && !said {
				level, said = slog.LevelError, true // no member is admitted that speaks another (W2)
			}
			l.node.log.Log(l.ctx, level, "link broke", "member", l.to.Name, "error", err)
		}
		// Whoever is answered Retry sends again, to whom the newest view names.
		l.fail()
		if pause = min(2*pause, mostPause); l.node.clock()-began > time.Second {
			pause = firstPause
		}
		select {
		case <-l.ctx.Done():
		case <-time.After(pause):
		}
	}
	l.fail()
}

// How long a link that broke rests before it is opened again.
const (
	firstPause = 5 * time.Millisecond
	mostPause  = 100 * time.Millisecond
)

// stream opens a stream and works until it breaks.
func (l *link) stream() error {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	f, err := l.node.dialLink(ctx, l.to)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is broken already
	l.reopened()
	broken := make(chan error, 1)
	if !l.node.tasks.Go(func() {
		err := l.read(f)
		_ = f.Close() // whoever sends hears of it
		broken <- err
	}) {
		return errClosed
	}
	every := l.node.lease() / 8
	ping := time.NewTicker(every)
	defer ping.Stop()
	var (
		frame   []byte
		resting bool // there was nothing to ask when the last ping was due
	)
	for {
		if frame = l.take(frame[:0]); len(frame) == 0 {
			select {
			case <-l.wake:
				runtime.Gosched() // who is about to send something comes first (A4)
				continue
			case <-ping.C:
				if !l.expects() && !resting {
					resting = true
					ping.Reset(idlePings * every)
					continue
				}
				if l.pinged() > 8*linkSilence {
					_ = f.Close()
					return errors.Join(errSilent, <-broken)
				}
				frame = appendLinkPing(frame)
			case err := <-broken:
				return err
			}
		}
		if resting {
			resting = false
			ping.Reset(every)
		}
		if err := f.Send(frame); err != nil {
			_ = f.Close()
			return errors.Join(err, <-broken)
		}
		if cap(frame) > maxBatchBytes {
			frame = nil
		}
	}
}

// idlePings is how many pings are left out while there is nothing to ask. That one comes
// at all tells the other end that this one is there: see linkSilence.
const idlePings = 16

// errSilent: nothing was heard on a link for linkSilence.
var errSilent = errors.New("the member does not answer pings")

// read delivers answers and acknowledgements until the stream breaks.
func (l *link) read(f Frames) error {
	var m linkResponse
	for {
		frame, err := f.Recv()
		if err == nil {
			err = m.read(frame, l.to.Name)
		}
		if err != nil {
			return err
		}
		l.heard()
		for i := range m.answers {
			l.answer(&m.answers[i])
		}
		if a := l.node.views.Now(); a != nil && len(m.acks) > 0 {
			a.Service.Acked(l.to.Identity, m.epoch, m.acks)
		}
	}
}

// reopened forgets the operations that wait, and has all that are not confirmed
// sent again: some may have been lost with the stream before.
func (l *link) reopened() {
	l.mu.Lock()
	l.entries, l.pings = nil, 0
	l.mu.Unlock()
	if a := l.node.views.Now(); a != nil {
		a.Service.LinkUp(l.to.Identity)
	}
}

// take appends everything that waits to an empty frame, up to the most for one.
func (l *link) take(frame []byte) []byte {
	l.mu.Lock()
	var calls []linkCall
	calls, l.queue = split(l.queue, min(len(l.queue), maxBatch))
	size, n := 0, 0
	for n < len(l.entries) && (n == 0 || size < maxBatchBytes) {
		size += len(l.entries[n].Ops) + entriesHead
		n++
	}
	var entries []owner.Entries
	entries, l.entries = split(l.entries, n)
	epoch := l.epoch
	l.mu.Unlock()
	for i := range calls {
		if len(frame) > maxBatchBytes { // the rest comes first in the next one
			l.mu.Lock()
			l.queue = append(calls[i:len(calls):len(calls)], l.queue...)
			l.mu.Unlock()
			break
		}
		before := len(frame)
		if frame = appendLinkCall(frame, &calls[i]); len(frame)-before > maxCallBytes {
			l.refuse(&calls[i], len(frame)-before)
			frame = frame[:before]
		}
	}
	if len(entries) > 0 {
		frame = appendLinkEntries(frame, epoch, entries)
	}
	return frame
}

// entriesHead is about what entries take beside their ops.
const entriesHead = 24

// refuse answers a call that is too large to be sent.
func (l *link) refuse(c *linkCall, size int) {
	l.answer(&linkAnswer{c.id, owner.Answer{Outcome: owner.Failed, Send: c.req.Send, Err: errTooLarge(size)}})
	select {
	case l.wake <- struct{}{}: // the frame may be empty though more waits
	default:
	}
}

// split cuts a list in two, and lets go of its memory when nothing is left.
func split[T any](list []T, n int) (head, rest []T) {
	if n == len(list) {
		return list, nil
	}
	return list[:n:n], list[n:]
}

// heard: the member is there.
func (l *link) heard() {
	l.mu.Lock()
	l.waiting, l.pings = 0, 0
	l.mu.Unlock()
}

// expects: something was sent, and nothing was heard since.
func (l *link) expects() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting != 0 || l.pings > 0
}

// pinged counts a ping that is sent, and gives how many were since something was heard.
func (l *link) pinged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pings++
	return l.pings
}

// stuck: nothing was heard of the member since before a time though calls were sent to
// it, and somebody still waits (V6): a call is unanswered, or was sent again of late and
// is between two attempts.
func (l *link) stuck(before time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting != 0 && l.waiting < before && (len(l.calls) > 0 || l.asked > before)
}

func (l *link) answer(a *linkAnswer) {
	l.mu.Lock()
	ref, ok := l.calls[a.id]
	l.mu.Unlock()
	if ok {
		ref.Caller.Answer(ref.ID, a.answer)
	}
}

// fail answers everything Retry. Registrations end.
func (l *link) fail() {
	l.mu.Lock()
	calls := l.calls
	l.calls = map[uint64]owner.Ref{}
	l.queue = nil
	l.mu.Unlock()
	for _, ref := range calls {
		ref.Caller.Answer(ref.ID, owner.Answer{Outcome: owner.Retry})
	}
}

// close ends the link for good.
func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stop()
	l.fail()
}
