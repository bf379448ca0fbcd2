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
	// urgent is sent before everything else, in wire format: what keeps locks alive, ends them, or shows
	// that this end is there. out is sent after it. fullUrgent and fullOut are messages before those that
	// are as large as a message should get. Guarded by mu.
	urgent, out         []byte
	fullUrgent, fullOut [][]byte
	// room counts what is in flight, and has what waits until there is less. Guarded by mu.
	room room
	// calls are those in flight, by id; guarded by mu.
	calls map[uint64]*exchange
	last  uint64 // the newest id; guarded by mu
	// heard is when the node was last known to be there: it said something, or
	// nothing was asked of it before. Guarded by mu.
	heard time.Duration
	// said is when something was last sent; pinged: nothing was heard since a ping was sent.
	// Guarded by mu.
	said   time.Duration
	pinged bool
	// sent: something was handed to the connection; spoke: the node has said something.
	// Guarded by mu.
	sent, spoke bool
	// alive is about the locks that this stream keeps; guarded by mu.
	alive keeping
	// told is the token that the node has got; nil is none. Guarded by mu.
	told *secure.Token
	// asked are to be told who owns what; guarded by mu.
	asked []chan<- []byte
	// opened is closed when the node has accepted the stream, or err is set.
	opened chan struct{}
	// holds is the newest id of a lock.
	holds atomic.Uint64
	// err is why the stream is broken; guarded by mu.
	err error
}

// fullMessage is how large a message gets before another is begun, in bytes; the last
// call in it comes on top. Nodes take 4 MiB.
const fullMessage = dial.MaxUnsent

// buffer is out, with room. mu is held.
func (st *stream) buffer() []byte {
	if len(st.out) >= fullMessage {
		st.fullOut = append(st.fullOut, st.out)
		st.out = make([]byte, 0, fullMessage+(4<<10))
	}
	return st.out
}

// first is urgent, with room: all locks of a client may be attached, or released, in one
// moment. mu is held.
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

// run opens the stream and sends calls until it breaks.
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
		st.nudge() // a node ends a session that shows no credential soon
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
		runtime.Gosched() // who is about to make a call makes it first (A4)
		for err == nil {
			data, next := st.take()
			if next > 0 {
				beat.Reset(next)
			}
			if data == nil {
				break
			}
			if f.Send(data) != nil {
				return // the reader hears why
			}
			// A burst may take long: what is due goes out in the middle of it.
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

// beatNow sends a keepalive if there are locks to keep.
func (st *stream) beatNow() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.alive.period() > 0 {
		st.beat()
	}
}

// take is what waits to be sent, urgent things first, all of it if it is not much. If a keepalive is among it, next is when
// to send another.
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
		// If the keepalive that waits is behind it, another may be sent besides.
		data, st.fullUrgent = st.fullUrgent[0], st.fullUrgent[1:]
	case len(st.urgent) > 0 && (len(st.fullOut) > 0 || len(st.urgent)+len(st.out) > fullMessage):
		data, st.urgent = st.urgent, nil
	case len(st.fullOut) > 0:
		data, st.fullOut = st.fullOut[0], st.fullOut[1:]
		st.sent = true
		return data, 0
	case len(st.urgent)+len(st.out) > 0:
		// In one message it does not matter what comes first.
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

// waits: the node has something to say. mu is held.
func (st *stream) waits() bool {
	return len(st.calls) > 0 || len(st.asked) > 0 || st.alive.unanswered || st.pinged
}

// look asks the node whether it is there when it has said nothing for a while, and
// gives it up after a longer one. It also shows the node that this client is there.
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
