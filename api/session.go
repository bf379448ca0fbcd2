package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// What one session may have under way.
const (
	// maxPending bounds the calls that are not answered yet: with more of them acquires are
	// refused. What ends or renews a lock still has room then, up to maxPendingAll.
	maxPending    = 32 << 10
	maxPendingAll = 2 * maxPending
	// maxUnsent bounds the bytes of answers that wait for a client that does not read
	// them. Beyond it no further calls are read.
	maxUnsent = 256 << 10
	// maxFrame is the most room that is kept ready for answers.
	maxFrame = fullMessage
	// fullMessage is how large a message gets before another is begun, in bytes; the last
	// answer in it comes on top.
	fullMessage = 64 << 10
	// maxUrgent is the largest status that is as urgent as a grant: a longer one names
	// holders.
	maxUrgent = 128
)

// errBusy refuses a call of a session that has too many under way.
var errBusy = &sharelock.Error{Err: sharelock.ErrQuota, Message: "the session has as many calls under way as it may"}

// errDraining sends the caller to another node.
var errDraining = &sharelock.Error{Err: sharelock.ErrNotReady, Message: "this node is stopping"}

// stream carries the messages of one session. Send and Recv are called at the same
// time, by one goroutine each.
type stream interface {
	// Recv waits for the next message, which is good until Recv is called again.
	Recv() ([]byte, error)
	// Send sends one message, which is not changed any more.
	Send(message []byte) error
}

// session is one session of a client. Two goroutines serve it: one reads calls and
// starts them, one writes the answers, all that wait as one message.
type session struct {
	stream stream
	// remote is the other end of the connection that the stream is on.
	remote net.Addr
	calls  Session
	// ring gives who owns what, in wire format.
	ring func() []byte
	// drain is closed when the server wants its streams to end.
	drain <-chan struct{}
	// wake tells the writer of answers, room the reader of room for more.
	wake, room chan struct{}
	// released: all holds were released, the last thing that the client wants.
	released chan struct{}
	// read has why the reader ended, and is closed then.
	read chan error
	log  *slog.Logger
	// spoke: the client has said something since silent was asked. quiet is how often in a
	// row it had not; of framed.lookAfter alone.
	spoke atomic.Bool
	quiet int

	mu sync.Mutex
	// urgent is what goes before everything else, in wire format: what became of holds that
	// are kept alive, pongs, and short answers. Behind it comes out. Before each are its
	// messages that are as large as they should get, of fullBytes together. Guarded by mu.
	urgent, out         []byte
	fullUrgent, fullOut [][]byte
	fullBytes           int
	// size is that of the last message; guarded by mu.
	size int
	// pending counts the calls that were not answered; guarded by mu.
	pending int
	unsent  unsent
	// takeBack releases a grant that cannot be sent any more. It does not block.
	takeBack func(h sharelock.Hold)
}

var (
	_ Sink   = (*session)(nil)
	_ Remote = (*session)(nil)
)

// Session implements LockService.Session.
func (s *locks) Session(st grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]) error {
	ctx, cancel := context.WithCancel(st.Context())
	defer cancel()
	ss := s.open(&grpcStream{ServerStream: st}, RemoteOf(ctx))
	// The reader ends with the stream, which ends when this handler returns; the
	// server waits for the handler alone, so nothing of the node is used by the
	// reader after Close.
	err := ss.serve(ctx, clientIDFromMetadata(ctx))
	ss.close(s.node)
	return err
}

// RemoteAddr implements Remote.
func (s *session) RemoteAddr() net.Addr { return s.remote }

// open makes a session on a stream. Its calls are to be closed.
func (s *locks) open(st stream, remote net.Addr) *session {
	ss := &session{
		stream: st, remote: remote, drain: s.drain, ring: s.ring, log: s.log,
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1), released: make(chan struct{}, 1),
		read: make(chan error, 1),
	}
	ss.takeBack = func(h sharelock.Hold) { s.node.TakeBack(h) }
	ss.calls = s.node.Open(ss)
	return ss
}

// serve reads and writes until the stream ends. The reader may outlast it, until Recv
// fails; see ended. who makes the calls that name nobody.
func (s *session) serve(ctx context.Context, who string) error {
	go func() {
		defer close(s.read)
		defer func() {
			if p := recover(); p != nil {
				s.read <- pb.ToStatus(panicked(s.log, pb.LockService_Session_FullMethodName, p)).Err()
			}
		}()
		s.read <- s.receive(ctx, who)
	}()
	return s.write(ctx)
}

// silent says how often in a row the client had said nothing when this was asked, though
// calls of it were under way.
func (s *session) silent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiet++; s.spoke.Swap(false) || s.pending == 0 {
		s.quiet = 0
	}
	return s.quiet
}

// ended waits for the reader, whose stream has ended, after serve.
func (s *session) ended() {
	for range s.read {
	}
}

// grpcStream is a stream of gRPC.
type grpcStream struct {
	grpc.ServerStream
	frame pb.Frame
}

// Recv implements stream.
func (s *grpcStream) Recv() ([]byte, error) {
	err := s.RecvMsg(&s.frame)
	return s.frame.Data, err
}

// Send implements stream.
func (s *grpcStream) Send(message []byte) error { return s.SendMsg(&pb.Frame{Data: message}) }

// first returns urgent, and buffer out, with room. mu is held.
func (s *session) first() []byte  { return s.lane(&s.urgent, &s.fullUrgent) }
func (s *session) buffer() []byte { return s.lane(&s.out, &s.fullOut) }

// lane returns the bytes of a lane, with room for more: an idle session has none. If they
// are a message, they go to those in full. mu is held.
func (s *session) lane(lane *[]byte, full *[][]byte) []byte {
	if len(*lane) >= fullMessage {
		*full, s.fullBytes = append(*full, *lane), s.fullBytes+len(*lane)
		*lane = nil
	}
	if *lane == nil {
		*lane = make([]byte, 0, min(max(s.size, 64), maxFrame))
	}
	return *lane
}

// Answer implements Sink.
func (s *session) Answer(id uint64, h sharelock.Hold, err error) {
	r := pb.Reply{ID: id, Hold: h}
	if err != nil {
		r.Status = statusBytes(err)
	}
	s.mu.Lock()
	if len(r.Status) <= maxUrgent {
		s.urgent = pb.AppendReply(s.first(), &r)
	} else {
		s.out = pb.AppendReply(s.buffer(), &r)
	}
	s.pending--
	lost := s.unsent.answered(id, &h, err == nil, s.unsent.taken+uint64(len(s.fullUrgent)))
	s.mu.Unlock()
	if lost {
		s.takeBack(h)
	}
	notify(s.wake)
}

// Renewed implements Sink.
func (s *session) Renewed(keepalive uint64, ids []uint64) {
	s.mu.Lock()
	s.urgent = pb.AppendRenewed(s.first(), keepalive, ids)
	s.mu.Unlock()
	notify(s.wake)
}

// Ended implements Sink.
func (s *session) Ended(id uint64, err error) {
	status := statusBytes(err)
	s.mu.Lock()
	s.urgent = pb.AppendEnd(s.first(), id, status)
	s.mu.Unlock()
	notify(s.wake)
}

// Forced implements Sink.
func (s *session) Forced(key string, token sharelock.Token, reason string) {
	s.mu.Lock()
	s.urgent = pb.AppendForced(s.first(), key, token, reason)
	s.mu.Unlock()
	notify(s.wake)
}

// Queued implements Sink.
func (s *session) Queued(id uint64, position uint32) {
	s.mu.Lock()
	if len(s.out)+s.fullBytes <= maxUnsent {
		s.out = pb.AppendQueued(s.buffer(), id, position)
	}
	s.mu.Unlock()
	notify(s.wake)
}

// Released implements Sink.
func (s *session) Released() { notify(s.released) }

func statusBytes(err error) []byte {
	b, merr := proto.Marshal(pb.ToStatus(err).Proto())
	if merr != nil {
		b, _ = proto.Marshal(status.New(codes.Internal, "the error has no wire format").Proto()) //nolint:errcheck // of two scalars
	}
	return b
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// receive takes calls off the stream until it ends.
func (s *session) receive(ctx context.Context, who string) error {
	var (
		reader pb.CallReader
		batch  []pb.Call
		keeps  keeps
	)
	for {
		if err := s.awaitRoom(ctx); err != nil {
			return err
		}
		message, err := s.stream.Recv()
		if err != nil {
			return err
		}
		s.spoke.Store(true)
		reader.Reset(message)
		for more := true; more; {
			var err error
			if batch, more, err = s.next(&reader, batch, who); err != nil {
				return status.Error(codes.InvalidArgument, err.Error())
			}
			// A refusal is much longer than what it refuses.
			if err := s.awaitRoom(ctx); err != nil {
				return err
			}
			s.start(batch)
			clear(batch)
			batch = batch[:0]
		}
		ping := reader.Ping
		if reader.Keeps {
			alive, err := s.keep(ctx, &keeps, message)
			if err != nil {
				return err
			}
			ping = ping || alive
		}
		if ping {
			s.pong()
		}
	}
}

// keep hands on what a message asks for beside its calls; alive: a keepalive was with
// it.
func (s *session) keep(ctx context.Context, k *keeps, data []byte) (alive bool, err error) {
	k.reader.Reset(data)
	ring := false
	for more := true; more; {
		if err := s.awaitRoom(ctx); err != nil {
			return false, err
		}
		for more && len(k.batch) < maxStart {
			var one pb.Keep
			if more, err = k.reader.Next(&one); err != nil {
				return false, status.Error(codes.InvalidArgument, err.Error())
			}
			switch {
			case !more:
			case one.Kind == pb.KeepRing:
				ring = true
			default:
				k.batch = append(k.batch, one)
				alive = alive || one.Kind == pb.KeepAlive
			}
		}
		if len(k.batch) > 0 {
			s.calls.Keep(k.batch)
		}
		clear(k.batch)
		k.batch = k.batch[:0]
	}
	if ring {
		s.tellRing()
	}
	return alive, nil
}

// tellRing says who owns what.
func (s *session) tellRing() {
	ring := s.ring()
	s.mu.Lock()
	s.out = pb.AppendRing(s.buffer(), ring)
	s.mu.Unlock()
	notify(s.wake)
}

// keeps is what keep uses again.
type keeps struct {
	reader pb.KeepReader
	batch  []pb.Keep
}

// maxStart is how many calls are started together, at most.
const maxStart = 256

// next reads calls to be started together; a cancel is done at once, after the calls
// before it. more is false at the end of the message.
func (s *session) next(r *pb.CallReader, batch []pb.Call, who string) (_ []pb.Call, more bool, err error) {
	for len(batch) < maxStart {
		batch = append(batch, pb.Call{})
		c := &batch[len(batch)-1]
		more, err = r.Next(c)
		if err != nil || !more {
			return batch[:len(batch)-1], more, err
		}
		if c.Kind == pb.CallCancel {
			id := c.ID
			batch = batch[:len(batch)-1]
			s.start(batch)
			clear(batch)
			batch = batch[:0]
			s.calls.Cancel(id)
			continue
		}
		if c.Acquire.ClientID == "" {
			c.Acquire.ClientID = who
		}
	}
	return batch, true, nil
}

// pong answers a ping, unless answers that wait do.
func (s *session) pong() {
	s.mu.Lock()
	if len(s.urgent) == 0 {
		s.urgent = pb.AppendPing(s.first())
	}
	s.mu.Unlock()
	notify(s.wake)
}

// start starts calls, or refuses them.
func (s *session) start(calls []pb.Call) {
	if len(calls) == 0 {
		return
	}
	s.mu.Lock()
	before := s.pending
	s.pending += len(calls)
	s.unsent.begin(calls)
	s.mu.Unlock()
	select {
	case <-s.drain:
		for i := range calls {
			s.Answer(calls[i].ID, sharelock.Hold{}, errDraining)
		}
		return
	default:
	}
	if before+len(calls) > maxPending {
		calls = s.withRoom(before, calls)
	}
	s.calls.Start(calls)
}

// withRoom refuses the calls for which there is no room besides those that are under way,
// and returns the others.
func (s *session) withRoom(before int, calls []pb.Call) []pb.Call {
	list := calls[:0]
	for i := range calls {
		most := maxPendingAll
		if calls[i].Kind == pb.CallAcquire {
			most = maxPending
		}
		if before+len(list) >= most {
			s.Answer(calls[i].ID, sharelock.Hold{}, errBusy)
		} else {
			list = append(list, calls[i])
		}
	}
	return list
}

// awaitRoom waits while the client does not read its answers.
func (s *session) awaitRoom(ctx context.Context) error {
	for {
		s.mu.Lock()
		full := s.fullBytes+len(s.out)+len(s.urgent) > maxUnsent
		s.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-s.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// write sends answers until the stream ends, or the server drains and nothing is
// under way.
func (s *session) write(ctx context.Context) error {
	drain := s.drain
	var idle <-chan time.Time
	released := false
	for {
		select {
		case <-s.wake:
		case <-s.released:
			released = true
		case err := <-s.read:
			if errors.Is(err, io.EOF) {
				return nil // the client closed; what is under way is cancelled
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-drain:
			drain = nil
			t := time.NewTicker(drainLook)
			defer t.Stop()
			idle = t.C
		case <-idle:
		}
		runtime.Gosched()
		for {
			data, quiet := s.takeOut()
			if data == nil {
				if released {
					return nil
				}
				if quiet && drain == nil && s.drain != nil {
					return status.Error(codes.Unavailable, "the node is leaving")
				}
				break
			}
			if err := s.stream.Send(data); err != nil {
				return err
			}
			notify(s.room)
		}
	}
}

// drainLook is how often a session looks whether its last call was answered.
const drainLook = 20 * time.Millisecond

// takeOut takes what waits to be sent, urgent things first, all of it if it is not much; quiet: nothing does, and no call
// is under way. What was taken before has been sent.
func (s *session) takeOut() (data []byte, quiet bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsent.sent()
	if len(s.fullUrgent) > 0 || len(s.urgent) > 0 {
		s.unsent.taken++ // in each case below one of them goes first
	}
	switch {
	case len(s.fullUrgent) > 0:
		data, s.fullUrgent = s.fullUrgent[0], s.fullUrgent[1:]
		s.fullBytes -= len(data)
		return data, false
	case len(s.urgent) > 0 && (len(s.fullOut) > 0 || len(s.urgent)+len(s.out) > fullMessage):
		data, s.urgent = s.urgent, nil
	case len(s.fullOut) > 0:
		data, s.fullOut = s.fullOut[0], s.fullOut[1:]
		s.fullBytes -= len(data)
		return data, false
	case len(s.urgent) > 0:
		data = append(s.urgent, s.out...)
		s.urgent, s.out = nil, nil
	case len(s.out) > 0:
		data, s.out = s.out, nil
	default:
		return nil, s.pending == 0
	}
	s.size = len(data)
	return data, false
}
