package api

import (
	"context"
	"errors"
	"io"
	"runtime"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// urgentBuffer returns urgent, and outBuffer returns out, ready to be appended to. mu must be held.
func (s *session) urgentBuffer() []byte { return s.lane(&s.urgent, &s.fullUrgent) }

func (s *session) outBuffer() []byte { return s.lane(&s.out, &s.fullOut) }

// lane returns the message of a lane, ready to be appended to. It moves a full message to full. It
// allocates the first message of a lane here, so that an idle session has no buffer. mu must be held.
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
	r := sessionwire.Reply{ID: id, Hold: h}
	if err != nil {
		r.Status = statusBytes(err)
	}
	s.mu.Lock()
	if len(r.Status) <= maxUrgent {
		s.urgent = sessionwire.AppendReply(s.urgentBuffer(), &r)
	} else {
		s.out = sessionwire.AppendReply(s.outBuffer(), &r)
	}
	s.pending--
	lost := s.unsent.Answered(id, &h, err == nil, uint64(len(s.fullUrgent)))
	held := s.held
	s.mu.Unlock()
	if s.trail != nil {
		s.trail.Answered(id, h.Token, err)
	}
	if lost {
		s.takeBack(h)
	}
	if !held {
		notify(s.wake)
	}
}

// Hold implements Sink.
func (s *session) Hold() {
	if s.direct != nil {
		s.mu.Lock()
		s.held = true
		s.mu.Unlock()
	}
}

// Flush implements Sink. If it cannot send, it wakes the writer.
func (s *session) Flush() {
	if s.direct == nil {
		return
	}
	s.mu.Lock()
	s.held = false
	waits := len(s.urgent) > 0 || len(s.out) > 0
	s.mu.Unlock()
	if waits && !s.trySend() {
		notify(s.wake)
	}
}

// trySend sends one message without blocking. It reports false if the writer must go on.
func (s *session) trySend() bool {
	if !s.sending.TryLock() {
		return false // the writer is sending, and takes the next message when it is woken
	}
	defer s.sending.Unlock()
	if s.partial || !s.greeted || s.finished {
		return false
	}
	data, _ := s.nextMessage()
	if data == nil {
		return true
	}
	if s.partial = !s.direct.TrySend(data); s.partial {
		return false
	}
	notify(s.room)
	return s.allSent()
}

// allSent records that the last message was sent, and reports whether no other one is waiting.
func (s *session) allSent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsent.Sent()
	return len(s.urgent)+len(s.out)+s.fullBytes == 0
}

// finish makes sure that nothing is sent any more but by its caller.
func (s *session) finish() {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.finished = true
}

// Renewed implements Sink.
func (s *session) Renewed(keepalive uint64, ids []uint64) {
	s.mu.Lock()
	s.urgent = sessionwire.AppendRenewed(s.urgentBuffer(), keepalive, ids)
	s.mu.Unlock()
	notify(s.wake)
}

// Ended implements Sink.
func (s *session) Ended(id uint64, err error) {
	status := statusBytes(err)
	s.mu.Lock()
	s.urgent = sessionwire.AppendEnd(s.urgentBuffer(), id, status)
	s.mu.Unlock()
	notify(s.wake)
}

// Forced implements Sink.
func (s *session) Forced(key string, token sharelock.Token, reason string) {
	s.mu.Lock()
	s.urgent = sessionwire.AppendForced(s.urgentBuffer(), key, token, reason)
	s.mu.Unlock()
	notify(s.wake)
}

// Queued implements Sink.
func (s *session) Queued(id uint64, position uint32) {
	s.mu.Lock()
	if len(s.out)+s.fullBytes <= maxUnsent {
		s.out = sessionwire.AppendQueued(s.outBuffer(), id, position)
	}
	s.mu.Unlock()
	notify(s.wake)
}

// Released implements Sink.
func (s *session) Released() { notify(s.released) }

func statusBytes(err error) []byte {
	b, merr := proto.Marshal(pb.ToStatus(err).Proto())
	if merr != nil {
		b, _ = proto.Marshal(status.New(codes.Internal, "the error cannot be encoded").Proto()) //nolint:errcheck // two scalars can be encoded
	}
	return b
}

// write sends answers until the stream ends, or until the server drains and no call is in flight.
func (s *session) write(ctx context.Context) error {
	drain := s.drain
	var idle <-chan time.Time
	released := false
	var ending error
	for {
		select {
		case <-s.wake:
		case <-s.released:
			released = true
		case ending = <-s.ending:
		case err := <-s.read:
			if errors.Is(err, io.EOF) {
				return nil // the client has closed the stream; its calls are cancelled
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-drain:
			drain = nil
			s.endWatches(errDraining)
			t := time.NewTicker(drainPoll)
			defer t.Stop()
			idle = t.C
		case <-idle:
		}
		runtime.Gosched()
		for {
			sent, quiet, err := s.sendNext()
			if err != nil {
				return err
			}
			if sent {
				notify(s.room)
				continue
			}
			if released || ending != nil {
				return ending
			}
			if quiet && drain == nil && s.drain != nil {
				return status.Error(codes.Unavailable, "the node is leaving")
			}
			break
		}
	}
}

// sendNext sends the next message. sent is false if there was none; quiet is that of nextMessage. After
// an error nothing is sent any more.
func (s *session) sendNext() (sent, quiet bool, err error) {
	s.sending.Lock()
	defer s.sending.Unlock()
	defer func() { s.finished = s.finished || err != nil }()
	if s.partial {
		if err := s.direct.Flush(); err != nil {
			return false, false, err
		}
		s.partial = false
	}
	data, quiet := s.nextMessage()
	if data == nil {
		return false, quiet, nil
	}
	if !s.greeted {
		data, s.greeted = sessionwire.AppendWatches(data), true
	}
	return true, false, s.stream.Send(data)
}

// drainPoll is the interval at which a draining session checks whether its last call was answered.
const drainPoll = 20 * time.Millisecond

// nextMessage returns the next message to send: urgent messages first, events of watches last. It
// combines the two lanes before those if the result is not too large. quiet reports that nothing is
// waiting, no call is in flight, and no watch is running. The message that nextMessage returned before
// must have been sent. The caller must hold sending.
func (s *session) nextMessage() (data []byte, quiet bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsent.Sent()
	if len(s.fullUrgent) > 0 || len(s.urgent) > 0 {
		s.unsent.Take() // every case below takes an urgent message first
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
		return s.watches.next(), s.pending == 0 && s.watches.idle()
	}
	s.size = len(data)
	return data, false
}
