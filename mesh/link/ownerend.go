package link

import (
	"sync"
	"sync/atomic"

	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// ownerEnd is the owner's side of a link: it queues the answers that go back.
type ownerEnd struct {
	views *epoch.Views
	// from is the printed identity of the member at the other end; member is that identity, once
	// it was found in a view.
	from   string
	member atomic.Pointer[ring.Identity]
	wake   wake.Signal
	dead   atomic.Bool
	// spoke: something came since it was looked at last.
	spoke atomic.Bool
	once  sync.Once // of down

	mu      sync.Mutex
	answers []queuedReply // guarded by mu
	bytes   int           // of answers, see answerBytes; guarded by mu
	epoch   uint32        // of acks; guarded by mu
	acks    []owner.Ack   // guarded by mu
	pong    bool          // a ping wants an answer; guarded by mu
}

func newOwnerEnd(views *epoch.Views, from string) *ownerEnd {
	return &ownerEnd{views: views, from: from, wake: wake.New()}
}

var _ owner.Caller = (*ownerEnd)(nil)

// memberOf reports whether the other end is a member of the view.
func (e *ownerEnd) memberOf(a *epoch.View) bool {
	if id := e.member.Load(); id != nil {
		return a.Has(*id)
	}
	m, in := a.Named(e.from)
	if in {
		e.member.Store(&m.Identity)
	}
	return in
}

// Alive implements owner.Caller: false once the link is down (Q5).
func (e *ownerEnd) Alive() bool { return !e.dead.Load() }

// down ends the caller with its stream. Nobody here knows whether the member at the other end died
// or only the link, so the waiters that came over it settle (Q5).
func (e *ownerEnd) down() {
	e.once.Do(func() {
		if a := e.views.Now(); a != nil {
			a.Service.Broke(e)
		}
		e.dead.Store(true)
	})
}

// Answer implements owner.Caller.
func (e *ownerEnd) Answer(id uint64, a owner.Answer) {
	if e.dead.Load() {
		return
	}
	bytes := answerBytes(&a)
	e.mu.Lock()
	e.answers = append(e.answers, queuedReply{reply{id, a}, bytes})
	e.bytes += bytes
	e.mu.Unlock()
	e.wake.Set()
}

// ack queues an acknowledgement. Those of an older epoch are of no use any more.
func (e *ownerEnd) ack(epoch uint32, a owner.Ack) {
	e.mu.Lock()
	if epoch > e.epoch {
		e.epoch, e.acks = epoch, nil
	}
	if epoch == e.epoch {
		e.acks = append(e.acks, a)
	}
	e.mu.Unlock()
	e.wake.Set()
}

// ping has something sent at once.
func (e *ownerEnd) ping() {
	e.mu.Lock()
	e.pong = true
	e.mu.Unlock()
	e.wake.Set()
}

// take appends what waits to an empty frame, as much as fits one.
func (e *ownerEnd) take(frame []byte) []byte {
	e.mu.Lock()
	var answers []queuedReply
	answers, e.answers = split(e.answers, min(len(e.answers), maxBatch))
	e.bytes -= queuedBytes(answers)
	var acks []owner.Ack
	acks, e.acks = split(e.acks, min(len(e.acks), maxAcks))
	epoch, pong := e.epoch, e.pong
	e.pong = false
	e.mu.Unlock()
	cur := e.views.Epoch()
	for i := range answers {
		if len(frame) > maxBatchBytes { // the rest comes first in the next one
			e.mu.Lock()
			e.answers = append(answers[i:len(answers):len(answers)], e.answers...)
			e.bytes += queuedBytes(answers[i:])
			e.mu.Unlock()
			break
		}
		before, a := len(frame), &answers[i].answer
		if frame = appendReply(frame, answers[i].id, cur, a); len(frame)-before > maxForwardBytes {
			size := len(frame) - before
			frame = appendReply(frame[:before], answers[i].id, cur, &owner.Answer{Outcome: owner.Failed, Send: a.Send, Err: errTooLarge(size)})
		}
	}
	if len(acks) > 0 {
		frame = appendAcks(frame, epoch, acks)
	}
	if pong {
		frame = appendPing(frame)
	}
	return frame
}

// receive hands over what comes, until the stream breaks.
func (e *ownerEnd) receive(f Frames) error {
	var m requestFrame
	for {
		frame, err := f.Recv()
		if err == nil {
			err = m.read(frame)
		}
		if err != nil {
			return err
		}
		e.spoke.Store(true)
		for i := range m.forwards {
			e.submit(&m.forwards[i])
		}
		if len(m.entries) > 0 {
			e.follow(&m)
		}
		if m.ping {
			e.ping()
		}
	}
}

// follow hands an owner's operations to the copies here (A3).
func (e *ownerEnd) follow(m *requestFrame) {
	a := e.views.Now()
	if a != nil && e.memberOf(a) {
		a.Service.Backup(*e.member.Load(), m.epoch, m.entries, e.ack)
	}
}

// submit hands a request to the owner's service. A request of another epoch is not handled: the one
// of the two members that is behind has to install the view first (A1). So a request that sat in a
// connection while the mesh went on is never served late (Q1). Nor is one handled while too much
// waits to be sent back, see maxAnswers.
func (e *ownerEnd) submit(f *forward) {
	ref := owner.Ref{Caller: e, ID: f.id}
	r := f.req
	a := e.views.Now()
	if a == nil || f.epoch != a.Epoch || !e.memberOf(a) || e.dead.Load() || e.full() {
		e.Answer(ref.ID, owner.Answer{Outcome: owner.Retry, Send: r.Send})
		return
	}
	a.Service.Submit(a.Partition(r.Key), ref, r)
}

// full reports whether the answers that wait take what they may.
func (e *ownerEnd) full() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bytes >= maxAnswers
}
