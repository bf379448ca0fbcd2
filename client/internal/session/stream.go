package session

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock/client/internal/dial"
	"github.com/sgkandale/sharelock/client/internal/secure"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

const (
	// Quiet is how long a stream may receive nothing while calls are in flight before the node is sent a
	// ping. gRPC's own pings take much longer.
	Quiet = time.Second
	// Dead is how long it may receive nothing then before it is given up.
	Dead = 3 * time.Second
	// showUp is the longest that a stream sends nothing while calls are in flight, and rest the
	// longest while none are.
	showUp = 5 * time.Second
	rest   = 10 * time.Second
)

// stream is one stream of a session.
type stream struct {
	s    *Session
	wake chan struct{}
	// ctx ends with the stream.
	ctx context.Context //nolint:containedctx // the lifetime of the stream
	end context.CancelFunc

	mu sync.Mutex
	// urgent and out are the messages being filled, in wire format. urgent is sent first: it has what keeps
	// locks alive, ends them, or shows the node that this client is alive. fullUrgent and fullOut are
	// full messages that are sent before each. Guarded by mu.
	urgent, out         []byte
	fullUrgent, fullOut [][]byte
	// room counts the calls in flight, and holds back others while there are too many. Guarded by mu.
	room room
	// calls are those in flight, by id; guarded by mu.
	calls map[uint64]*exchange
	last  uint64 // the newest id; guarded by mu
	// heard is when the node last sent something, or when it was first asked something after nothing
	// was in flight. Guarded by mu.
	heard time.Duration
	// said is when something was last sent. pinged is set while a ping is unanswered. Guarded by mu.
	said   time.Duration
	pinged bool
	// sent is set once something was passed to the connection, spoke once the node has sent something.
	// Guarded by mu.
	sent, spoke bool
	// alive has the locks that this stream keeps alive; guarded by mu.
	alive keeping
	// told is the bearer token that was last sent; nil if none was. Guarded by mu.
	told *secure.Token
	// asked are the callers of ring, who wait for the owners of all partitions; guarded by mu.
	asked []chan<- []byte
	// watches are those that the node has not ended, by id, and lastWatch is the newest id. takesWatches is
	// set once the node has said that it takes some. Guarded by mu.
	watches      map[uint64]*watch
	lastWatch    uint64
	takesWatches bool
	// greeted is closed when the node sends its first message.
	greeted chan struct{}
	// opened is closed when the node has accepted the stream, or err is set.
	opened chan struct{}
	// holds is the newest id of a lock.
	holds atomic.Uint64
	// err is why the stream is broken; guarded by mu.
	err error
}

// fullMessage is the size in bytes from which a message is full and the next one is begun. A message may
// exceed it by its last call. Nodes accept 4 MiB.
const fullMessage = dial.MaxUnsent

// buffer returns out, ready to be appended to. mu must be held.
func (st *stream) buffer() []byte {
	if len(st.out) >= fullMessage {
		st.fullOut = append(st.fullOut, st.out)
		st.out = make([]byte, 0, fullMessage+(4<<10))
	}
	return st.out
}

// first returns urgent, ready to be appended to. It can become full: all locks of a client may be attached
// or released at the same moment. mu must be held.
func (st *stream) first() []byte {
	if len(st.urgent) >= fullMessage {
		st.fullUrgent = append(st.fullUrgent, st.urgent)
		st.urgent = nil
	}
	return st.urgent
}

func (st *stream) nudge() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// run opens the stream and sends what is waiting until the stream breaks.
func (st *stream) run() {
	defer st.end()
	f, told, err := st.s.connect(st.ctx)
	if err != nil {
		st.s.failed(err)
		st.fail(err)
		return
	}
	st.mu.Lock()
	st.heard = st.s.Now()
	st.said, st.told = st.heard, told
	st.mu.Unlock()
	st.s.reached(st)
	close(st.opened)
	if st.s.Credential != nil {
		st.nudge() // a node soon ends a session that has sent no credential
	}
	st.s.work.Go(func() { st.read(f) })
	look := time.NewTicker(Quiet / 2)
	defer look.Stop()
	beat := time.NewTimer(longestPeriod)
	defer beat.Stop()
	for {
		var err error
		select {
		case <-st.wake:
		case <-beat.C:
			st.beatNow()
		case <-look.C:
			err = st.look()
		case <-st.ctx.Done():
			err = status.FromContextError(st.ctx.Err()).Err()
		}
		runtime.Gosched() // let other goroutines add their calls to the message (A4)
		for err == nil {
			data, next := st.take()
			if next > 0 {
				beat.Reset(next)
			}
			if data == nil {
				break
			}
			if f.Send(data) != nil {
				return // read fails, too, with the reason
			}
			// A burst may take long. Send keepalives and pings that become due in between.
			select {
			case <-beat.C:
				st.beatNow()
			case <-look.C:
				err = st.look()
			default:
			}
		}
		if err != nil {
			st.fail(err)
			return
		}
	}
}

// beatNow sends a keepalive if the stream keeps locks alive.
func (st *stream) beatNow() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.alive.period() > 0 {
		st.beat()
	}
}

// take returns the next message to send, urgent ones first, and combines both kinds if the result is not too
// large. data is nil if nothing is waiting. If the message has a keepalive, next is the time until the next
// one; otherwise it is 0.
func (st *stream) take() (data []byte, next time.Duration) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if token := st.s.Credential.Newest(); token != st.told {
		st.told = token
		if data = sessionwire.AppendToken(nil, token.String()); len(data) > 0 {
			return data, 0
		}
	}
	switch {
	case len(st.fullUrgent) > 0:
		// The keepalive that is waiting may be in a later message; then one more is sent, which does no harm.
		data, st.fullUrgent = st.fullUrgent[0], st.fullUrgent[1:]
	case len(st.urgent) > 0 && (len(st.fullOut) > 0 || len(st.urgent)+len(st.out) > fullMessage):
		data, st.urgent = st.urgent, nil
	case len(st.fullOut) > 0:
		data, st.fullOut = st.fullOut[0], st.fullOut[1:]
		st.sent = true
		return data, 0
	case len(st.urgent)+len(st.out) > 0:
		// The order within one message does not matter.
		data = append(st.out, st.urgent...)
		st.out = make([]byte, 0, min(max(len(data), 256), fullMessage))
		if st.urgent = st.urgent[:0]; cap(st.urgent) > 1<<12 {
			st.urgent = nil
		}
	default:
		return nil, 0
	}
	st.said, st.sent = st.s.Now(), true
	if st.alive.pending {
		st.alive.pending, next = false, st.alive.period()
	}
	return data, next
}

// waits reports whether the node owes an answer. mu must be held.
func (st *stream) waits() bool {
	return len(st.calls) > 0 || len(st.asked) > 0 || st.alive.unanswered || st.pinged
}

// look sends a ping if the node has sent nothing for a while, and fails if it has sent nothing for longer. It
// also sends pings that show the node that this client is alive.
func (st *stream) look() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.s.Now()
	st.s.Beat(now)
	waits, silent := st.waits(), now-st.heard
	switch {
	case waits && silent >= Dead:
		return status.Error(codes.Unavailable, "the node has not answered for "+Dead.String())
	case waits && silent >= Quiet, waits && now-st.said >= showUp, now-st.said >= rest:
		if !waits {
			st.heard = now
		}
		st.pinged = true
		st.urgent = sessionwire.AppendPing(st.first())
	}
	return nil
}
