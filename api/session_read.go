package api

import (
	"cmp"
	"context"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// receive reads messages from the stream until it ends.
func (s *session) receive(ctx context.Context, who string) error {
	var (
		reader sessionwire.CallReader
		batch  []sessionwire.Call
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
		s.heard.Store(true)
		if s.guard != nil {
			if err := s.guard.Hear(ctx, message); err != nil {
				return err
			}
		}
		reader.Reset(message)
		for more := true; more; {
			var err error
			if batch, more, err = s.next(&reader, batch, who); err != nil {
				return status.Error(codes.InvalidArgument, err.Error())
			}
			// Refusals are much longer than the calls that they refuse.
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

// keep processes the requests of a message other than its calls. It reports whether a keepalive was
// among them.
func (s *session) keep(ctx context.Context, k *keeps, data []byte) (alive bool, err error) {
	k.reader.Reset(data)
	ring := false
	for more := true; more; {
		if err := s.awaitRoom(ctx); err != nil {
			return false, err
		}
		for n := 0; more && n < maxStart; n++ {
			var one sessionwire.Keep
			if more, err = k.reader.Next(&one); err != nil {
				return false, status.Error(codes.InvalidArgument, err.Error())
			}
			switch {
			case !more:
			case one.Kind == sessionwire.KeepRing:
				ring = true
			case one.Kind == sessionwire.KeepAttach && s.refuses(&one):
			case one.Kind == sessionwire.KeepWatch:
				s.watch(ctx, &one)
			case one.Kind == sessionwire.KeepUnwatch:
				s.unwatch(one.ID)
			case one.Kind == sessionwire.KeepRead:
				s.readEvents(one.ID, one.Events)
			default:
				k.batch = append(k.batch, one)
				alive = alive || one.Kind == sessionwire.KeepAlive
			}
		}
		if len(k.batch) > 0 && s.calls != nil {
			s.calls.Keep(k.batch)
		}
		clear(k.batch)
		k.batch = k.batch[:0]
	}
	if ring {
		s.sendRing()
	}
	return alive, nil
}

// refuses tells the client that a hold is not attached if the session is not open yet. Otherwise it
// checks whether the caller may have the hold.
func (s *session) refuses(k *sessionwire.Keep) bool {
	if s.guard == nil {
		return false
	}
	if s.guard.CheckHold(k); s.calls == nil {
		s.Ended(k.ID, k.Err)
	}
	return s.calls == nil
}

// sendRing sends the owners of all partitions, if the client may know them.
func (s *session) sendRing() {
	var ring []byte
	if s.guard == nil || s.guard.MayReadRing() {
		ring = s.ring()
	}
	s.mu.Lock()
	s.out = sessionwire.AppendRing(s.outBuffer(), ring)
	s.mu.Unlock()
	notify(s.wake)
}

// keeps holds buffers that keep reuses.
type keeps struct {
	reader sessionwire.KeepReader
	batch  []sessionwire.Keep
}

// maxStart is the maximum number of calls that are started together.
const maxStart = 256

// next reads calls that are started together. At a cancel it first starts the calls before it, and
// then cancels at once. more is false at the end of the message.
func (s *session) next(r *sessionwire.CallReader, batch []sessionwire.Call, who string) (_ []sessionwire.Call, more bool, err error) {
	for len(batch) < maxStart {
		batch = append(batch, sessionwire.Call{})
		c := &batch[len(batch)-1]
		more, err = r.Next(c)
		if err != nil || !more {
			return batch[:len(batch)-1], more, err
		}
		if c.Kind == sessionwire.CallCancel {
			id := c.ID
			batch = batch[:len(batch)-1]
			s.start(batch)
			clear(batch)
			batch = batch[:0]
			if s.calls != nil {
				s.calls.Cancel(id)
			}
			continue
		}
		if c.ClientID == "" {
			c.ClientID = who
		}
	}
	return batch, true, nil
}

// pong answers a ping. If other urgent messages are waiting, they serve as the answer.
func (s *session) pong() {
	s.mu.Lock()
	if len(s.urgent) == 0 {
		s.urgent = sessionwire.AppendPing(s.urgentBuffer())
	}
	s.mu.Unlock()
	notify(s.wake)
}

// start starts calls, or refuses them.
func (s *session) start(calls []sessionwire.Call) {
	if len(calls) == 0 {
		return
	}
	s.mu.Lock()
	before := s.pending
	s.pending += len(calls)
	s.unsent.Begin(calls)
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
		calls = s.admit(before, calls)
	}
	switch {
	case s.guard != nil:
		s.guard.CheckCalls(calls)
	case s.trail != nil:
		s.gate.Follow(s.trail, s.remote, calls)
	}
	if s.calls == nil { // all of them are refused
		for i := range calls {
			s.Answer(calls[i].ID, sharelock.Hold{}, cmp.Or(calls[i].Err, error(errDraining)))
		}
		return
	}
	s.calls.Start(calls)
}

// admit refuses the calls for which there is no room beside the before calls in flight, and
// returns the others.
func (s *session) admit(before int, calls []sessionwire.Call) []sessionwire.Call {
	list := calls[:0]
	for i := range calls {
		most := maxPendingAll
		if calls[i].Kind == sessionwire.CallAcquire {
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

// awaitRoom blocks while too many bytes of answers wait for the client to read them.
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
