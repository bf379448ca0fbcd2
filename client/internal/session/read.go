package session

import (
	"errors"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/secure"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// read receives answers until the stream breaks.
func (st *stream) read(f clienthook.Frames) {
	defer st.end()
	var (
		reader sessionwire.ReplyReader
		reply  sessionwire.Reply
		ready  []*exchange
		news   []News
	)
	for {
		message, err := f.Recv()
		if err != nil {
			st.fail(err)
			return
		}
		reader.Reset(message)
		now := st.s.Now()
		st.mu.Lock()
		if !st.spoke {
			close(st.greeted)
		}
		st.heard, st.spoke, st.pinged, st.alive.unanswered = now, true, false, false
		for {
			var more bool
			if more, err = reader.Next(&reply); !more {
				break
			}
			x := st.calls[reply.ID]
			if x == nil {
				continue // its caller has given up
			}
			delete(st.calls, reply.ID)
			st.over(x)
			x.at = now
			if x.hold = reply.Hold; reply.Status != nil {
				x.err = statusError(reply.Status)
			}
			ready = append(ready, x)
		}
		if err == nil && reader.Kept {
			news, err = st.kept(message, news[:0])
		}
		st.mu.Unlock()
		for i, x := range ready {
			x.done <- struct{}{}
			ready[i] = nil
		}
		ready = ready[:0]
		st.s.Keeper.News(news)
		clear(news)
		news = news[:0]
		if err != nil {
			if closed, ok := errors.AsType[closedByNode](err); ok {
				err = closed.error
			} else {
				err = status.Error(codes.Unavailable, err.Error())
			}
			st.fail(err)
			return
		}
	}
}

// statusError decodes a status and returns its error.
func statusError(b []byte) error {
	var p spb.Status
	if err := proto.Unmarshal(b, &p); err != nil {
		return status.Error(codes.Internal, "malformed status")
	}
	if err := status.ErrorProto(&p); err != nil {
		return err
	}
	return status.Error(codes.Internal, "a failure without a code")
}

// fail ends the stream and fails all its calls. The error is Unavailable, so that they are retried, whatever
// the reason: it is not the answer to any of them. Only a refusal of the client's credential, and the wrong
// port, are passed on.
func (st *stream) fail(err error) {
	st.s.drop(st)
	switch code := status.Code(err); {
	case code == codes.Unimplemented:
		st.s.unaryUntil.Store(int64(st.s.Now() + Relearn))
	case code != codes.Unavailable && !secure.Denied(sharelockv1.FromError(err)) && !errors.Is(sharelockv1.FromError(err), sharelock.ErrWrongPort):
		err = status.Errorf(codes.Unavailable, "the session ended: %v", err)
	}
	st.mu.Lock()
	if st.err != nil {
		st.mu.Unlock()
		return
	}
	st.err = err
	calls, locks, spoke, asked := st.calls, st.alive.locks, st.spoke, st.asked
	for _, w := range st.watches {
		w.nudge()
	}
	callErr := err
	if !st.sent {
		callErr = unsentError{err}
	}
	st.calls, st.alive.locks, st.asked = map[uint64]*exchange{}, nil, nil
	st.room = room{}
	st.mu.Unlock()
	st.end()
	for _, c := range asked {
		close(c)
	}
	if len(locks) > 0 {
		why := err
		if spoke {
			why = ErrBroken
		}
		st.s.Keeper.Broke(st.attachments(locks), why)
	}
	now := st.s.Now()
	for _, x := range calls {
		if x.err, x.at = callErr, now; x.place == heldBack {
			x.err = unsentError{err}
		}
		x.done <- struct{}{}
	}
}
