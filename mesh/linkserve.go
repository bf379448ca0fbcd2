package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/network"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// acceptLinks serves the links of other members until the listener is closed.
func (n *Node) acceptLinks(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		stream, ok := conn.(*linkStream)
		if ok {
			network.ResetOnClose(stream.Conn)
		}
		if !ok || !n.tasks.Go(func() {
			if err := n.serveLink(newFrames(stream, linkSilence*n.lease()), stream.from); err != nil && n.ctx.Err() == nil {
				n.log.Debug("a member's link broke", "member", stream.from, "error", err)
			}
		}) {
			_ = conn.Close()
		}
	}
}

// serveLink serves what another member forwards, and the operations of its
// partitions.
func (n *Node) serveLink(f Frames, from string) error {
	defer f.Close() //nolint:errcheck // it is broken already
	c := &linkCaller{node: n, from: from, wake: make(chan struct{}, 1)}
	received := make(chan error, 1)
	if !n.tasks.Go(func() {
		err := c.receive(f)
		// Here, behind the last call that was submitted and before a newer stream's calls
		// can meet this one's.
		c.down()
		received <- err
		close(received)
	}) {
		return errClosed
	}
	defer func() {
		_ = f.Close()
		for range received { // it ends with f
		}
	}()
	// Sending may take long, see frameConn; the end of the node does not wait for it.
	defer context.AfterFunc(n.ctx, func() { _ = f.Close() })()
	look := time.NewTicker(n.lease())
	defer look.Stop()
	silent := 0
	var frame []byte
	for {
		changed := n.views.Changed()
		if a := n.views.Now(); a != nil && !c.memberOf(a) {
			// A1: what a process says that is no member (any more) does not count.
			return fmt.Errorf("%s is not in view %d", from, a.Epoch)
		}
		select {
		case <-changed:
			continue
		case err := <-received:
			return err
		case <-n.stopping:
			return errClosed
		case <-look.C:
			if silent++; c.spoke.Swap(false) {
				silent = 0
			}
			if silent > linkSilence {
				return errors.New("nothing was heard on it")
			}
			continue
		case <-c.wake:
			runtime.Gosched() // who is about to answer something comes first (A4)
		}
		for frame = c.take(frame[:0]); len(frame) > 0; frame = c.take(frame[:0]) {
			if err := f.Send(frame); err != nil {
				return err
			}
			if cap(frame) > maxBatchBytes {
				frame = nil
			}
		}
	}
}

// linkCaller is the owner's side of a link: it queues the answers that go back.
type linkCaller struct {
	node *Node
	// from is the printed identity of the member at the other end; member is that
	// identity, once it was found in a view.
	from   string
	member atomic.Pointer[ring.Identity]
	wake   chan struct{}
	dead   atomic.Bool
	// spoke: something came since it was looked at last.
	spoke atomic.Bool
	once  sync.Once // of down

	mu      sync.Mutex
	answers []queuedAnswer // guarded by mu
	bytes   int            // of answers, see answerBytes; guarded by mu
	epoch   uint32         // of acks; guarded by mu
	acks    []owner.Ack    // guarded by mu
	pong    bool           // a ping wants an answer; guarded by mu
}

var _ owner.Caller = (*linkCaller)(nil)

// memberOf tells whether the other end is a member of the view.
func (c *linkCaller) memberOf(a *epoch.View) bool {
	if id := c.member.Load(); id != nil {
		return a.Has(*id)
	}
	m, in := a.Named(c.from)
	if in {
		c.member.Store(&m.Identity)
	}
	return in
}

// Alive implements owner.Caller: false once the link is down (Q5).
func (c *linkCaller) Alive() bool { return !c.dead.Load() }

// down ends the caller with its stream. Nobody here knows whether the member at the
// other end died or only the link, so the waiters that came over it settle (Q5).
func (c *linkCaller) down() {
	c.once.Do(func() {
		if a := c.node.views.Now(); a != nil {
			a.Service.Broke(c)
		}
		c.dead.Store(true)
	})
}

// Answer implements owner.Caller.
func (c *linkCaller) Answer(id uint64, a owner.Answer) {
	if c.dead.Load() {
		return
	}
	bytes := answerBytes(&a)
	c.mu.Lock()
	c.answers = append(c.answers, queuedAnswer{linkAnswer{id, a}, bytes})
	c.bytes += bytes
	c.mu.Unlock()
	c.nudge()
}

// ack queues an acknowledgement. Those of an older epoch are of no use any more.
func (c *linkCaller) ack(epoch uint32, a owner.Ack) {
	c.mu.Lock()
	if epoch > c.epoch {
		c.epoch, c.acks = epoch, nil
	}
	if epoch == c.epoch {
		c.acks = append(c.acks, a)
	}
	c.mu.Unlock()
	c.nudge()
}

// ping has something sent at once.
func (c *linkCaller) ping() {
	c.mu.Lock()
	c.pong = true
	c.mu.Unlock()
	c.nudge()
}

func (c *linkCaller) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take appends what waits to an empty frame, as much as fits one.
func (c *linkCaller) take(frame []byte) []byte {
	c.mu.Lock()
	var answers []queuedAnswer
	answers, c.answers = split(c.answers, min(len(c.answers), maxBatch))
	c.bytes -= queuedBytes(answers)
	var acks []owner.Ack
	acks, c.acks = split(c.acks, min(len(c.acks), maxAcks))
	epoch, pong := c.epoch, c.pong
	c.pong = false
	c.mu.Unlock()
	cur := c.node.epoch()
	for i := range answers {
		if len(frame) > maxBatchBytes { // the rest comes first in the next one
			c.mu.Lock()
			c.answers = append(answers[i:len(answers):len(answers)], c.answers...)
			c.bytes += queuedBytes(answers[i:])
			c.mu.Unlock()
			break
		}
		before, a := len(frame), &answers[i].answer
		if frame = appendLinkAnswer(frame, answers[i].id, cur, a); len(frame)-before > maxCallBytes {
			size := len(frame) - before
			frame = appendLinkAnswer(frame[:before], answers[i].id, cur, &owner.Answer{Outcome: owner.Failed, Send: a.Send, Err: errTooLarge(size)})
		}
	}
	if len(acks) > 0 {
		frame = appendLinkAcks(frame, epoch, acks)
	}
	if pong {
		frame = appendLinkPing(frame)
	}
	return frame
}

func (c *linkCaller) receive(f Frames) error {
	var m linkRequest
	for {
		frame, err := f.Recv()
		if err == nil {
			err = m.read(frame)
		}
		if err != nil {
			return err
		}
		c.spoke.Store(true)
		for i := range m.calls {
			c.submit(&m.calls[i])
		}
		if len(m.entries) > 0 {
			c.follow(&m)
		}
		if m.ping {
			c.ping()
		}
	}
}

// follow hands an owner's operations to the copies here (A3).
func (c *linkCaller) follow(m *linkRequest) {
	a := c.node.views.Now()
	if a != nil && c.memberOf(a) {
		a.Service.Backup(*c.member.Load(), m.epoch, m.entries, c.ack)
	}
}

// submit hands a call to the owner's service. A call of another epoch is not
// handled: whoever is behind, of the two, has to install the view first (A1). So a
// call that sat in a connection while the mesh went on is never served late (Q1). Nor is one
// handled while too much waits to be sent back, see maxAnswers.
func (c *linkCaller) submit(call *linkCall) {
	ref := owner.Ref{Caller: c, ID: call.id}
	r := call.req
	a := c.node.views.Now()
	if a == nil || call.epoch != a.Epoch || !c.memberOf(a) || c.dead.Load() || c.full() {
		c.Answer(ref.ID, owner.Answer{Outcome: owner.Retry, Send: r.Send})
		return
	}
	a.Service.Submit(a.Partition(r.Key), ref, r)
}
